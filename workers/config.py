"""The node's home folder: what it knows across restarts, in files only its user can read.

`config.json` is written once at enrolment. Everything is replaced atomically, so a power
cut leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from workers.protocol import limits, manifest, messages

#: Names the home for programs started without our command line (`celery -A workers.app`).
HOME_VARIABLE = "NODEFOLK_HOME"
DEFAULT_HOME = Path("~/.nodefolk")
#: Brokers a node may be sent to.
BROKER_SCHEMES = ("amqp", "amqps", "filebroker")
#: Disk the model cache may use, bytes.
CACHE_BYTES_DEFAULT = 4 * 1024 * limits.MIB
BUILT_IN_MODELS_MAX = 16
CONFIG_BYTES_MAX = limits.MIB

BrokerUrl = Annotated[
    str, StringConstraints(max_length=500, pattern=rf"^({'|'.join(BROKER_SCHEMES)})://")
]
Text = Annotated[str, StringConstraints(max_length=200)]


class NotEnrolled(Exception):
    """There is no config.json in this home: run `nodefolk-node enroll` first."""


class Damaged(Exception):
    """config.json exists and cannot be used."""


class BrokerLogin(BaseModel):
    """Where this node's queue is, and the login that may read only it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    url: BrokerUrl
    username: Text = ""
    password: Text = ""
    vhost: Text = ""
    queue: Text


class BuiltInModel(BaseModel):
    """A model worth having before the first job; the URL is good for an hour or so."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    digest: messages.Digest
    size_bytes: Annotated[int, Field(gt=0, le=limits.MODEL_BYTES_MAX)]
    url: messages.Url
    #: How pictures go in and answers come out.
    contract: manifest.Contract = manifest.DETECTOR


class Config(BaseModel):
    """What enrolment gave this node."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    node_id: messages.Identifier
    name: Text
    portal_url: messages.Url
    slots: Annotated[int, Field(ge=1, le=limits.SLOTS_MAX)]
    broker: BrokerLogin
    #: Base64 of the platform's public key, pinned: nothing it did not sign is obeyed.
    platform_key: Text
    models: Annotated[list[BuiltInModel], Field(max_length=BUILT_IN_MODELS_MAX)]
    cache_bytes_max: Annotated[int, Field(gt=0)] = CACHE_BYTES_DEFAULT


@dataclass(frozen=True)
class Home:
    """Names of the files in the home folder."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home named by NODEFOLK_HOME, else `~/.nodefolk`."""
        return cls(Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser())

    @property
    def config_file(self) -> Path:
        return self.root / "config.json"

    @property
    def key_file(self) -> Path:
        return self.root / "key.pem"

    @property
    def next_key_file(self) -> Path:
        return self.root / "key.next.pem"

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def pause_file(self) -> Path:
        return self.root / "paused"

    @property
    def limits_file(self) -> Path:
        return self.root / "limits.toml"

    @property
    def settings_file(self) -> Path:
        return self.root / "page.json"

    @property
    def benchmark_file(self) -> Path:
        return self.root / "benchmark.json"

    @property
    def log_file(self) -> Path:
        return self.root / "node.log"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def models_folder(self) -> Path:
        return self.root / "models"

    @property
    def outbox_folder(self) -> Path:
        return self.root / "outbox"

    def make(self) -> None:
        """Create the folder, closed to other users."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)


def read(home: Home) -> Config:
    """Return what enrolment stored.

    Raises:
        NotEnrolled: there is nothing.
        Damaged: it cannot be read.
    """
    try:
        return Config.model_validate_json(_read_bounded(home.config_file))
    except FileNotFoundError as exc:
        raise NotEnrolled(f"{home.root} holds no enrolled node.") from exc
    except (ValidationError, OSError) as exc:
        raise Damaged(f"{home.config_file} cannot be used: {_first_line(exc)}") from exc


def write(home: Home, config: Config) -> None:
    """Store `config`, readable by this user only."""
    write_atomically(home.config_file, config.model_dump_json(indent=2).encode())


def pause(home: Home, *, until: datetime | None = None) -> None:
    """Ask the running node to take no new work, for good or until a time.

    It looks twice a second.
    """
    write_atomically(home.pause_file, until.isoformat().encode() if until else b"")


def resume(home: Home) -> None:
    """Undo `pause`."""
    home.pause_file.unlink(missing_ok=True)


def is_paused(home: Home, *, now: datetime) -> bool:
    """Say whether the operator paused this node; a pause whose time is over is none."""
    try:
        text = home.pause_file.read_text(encoding="utf-8", errors="replace")[:40].strip()
    except FileNotFoundError:
        return False
    until = pause_end(text)
    return until is None or now < until


def pause_end(text: str) -> datetime | None:
    """Return when a pause ends; None for one without end, as an unreadable file is."""
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return None
    return until if until.tzinfo else None


def broker_url(login: BrokerLogin) -> str:
    """Return the URL to connect to, login included; it is a secret."""
    parts = urlsplit(login.url)
    if parts.scheme == "filebroker":
        return login.url
    host = parts.netloc.rpartition("@")[2]
    user = f"{quote(login.username, safe='')}:{quote(login.password, safe='')}"
    vhost = quote(login.vhost or parts.path.lstrip("/") or "/", safe="")
    return f"{parts.scheme}://{user}@{host}/{vhost}"


@cache
def software_version() -> str:
    """Return the installed version of this package, `0` when run from a bare folder."""
    try:
        return metadata.version("nodefolk")
    except metadata.PackageNotFoundError:
        return "0"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` with `content`, mode 0600, durable before it becomes visible."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        raise


def remove_drafts(folder: Path) -> None:
    """Remove what a killed process left of `write_atomically` in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(CONFIG_BYTES_MAX)


def _first_line(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        first = exc.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return re.split(r"\n", str(exc))[0]
