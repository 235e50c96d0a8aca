"""Who this node is: an Ed25519 key on disk, bound to its owner by one enrolment.

The key outlives reinstalling and containers; whoever holds the file is the node.
"""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path
from typing import Annotated

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers import config, sessions
from workers.config import BrokerLogin, BuiltInModel, Config, Home
from workers.protocol import limits, messages, routes, signatures

TIMEOUT_SECONDS = 30
#: The portal's answer to an enrolment, bytes.
ANSWER_BYTES_MAX = limits.MIB


class EnrollmentFailed(Exception):
    """The portal did not take the node; the sentence says what to do."""

    def __init__(self, sentence: str, *, code: str = "") -> None:
        super().__init__(sentence)
        #: The portal's code for its refusal, empty without one.
        self.code = code


class AlreadyEnrolled(Exception):
    """This home holds an enrolled node."""


class BadKeyFile(Exception):
    """The key file is readable by others, or is no Ed25519 key."""


class Enrolled(BaseModel):
    """The portal's answer; fields added later are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    id: messages.Identifier
    broker: BrokerLogin
    platform_key: str
    models: Annotated[list[BuiltInModel], Field(max_length=config.BUILT_IN_MODELS_MAX)] = []


def enroll(*, home: Home, portal_url: str, token: str, name: str, slots: int) -> Config:
    """Enrol this machine at the portal and store what it answered.

    The key is made first and kept when the portal refuses, so trying again is safe.

    Raises:
        AlreadyEnrolled: nothing was sent.
        BadKeyFile: nothing was sent.
        EnrollmentFailed: nothing but the key was stored.
    """
    if home.config_file.exists():
        raise AlreadyEnrolled(f"{home.root} holds an enrolled node; choose another --home.")
    home.make()
    key = load_or_create_key(home.key_file)
    answer = _ask(
        f"{portal_url.rstrip('/')}{routes.ENROLL_PATH}",
        {
            "token": token,
            "name": name,
            "public_key": signatures.public_text(key),
            "hardware": hardware(),
        },
    )
    enrolled = Config(
        node_id=answer.id,
        name=name,
        portal_url=portal_url,
        slots=slots,
        broker=answer.broker,
        platform_key=answer.platform_key,
        models=answer.models,
    )
    config.write(home, enrolled)
    return enrolled


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in `path`, made on first use.

    Raises:
        BadKeyFile: it cannot be used.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        config.write_atomically(path, pem)
    return load_key(path)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in `path`.

    Raises:
        BadKeyFile: it is missing, open to other users, or no Ed25519 key.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise BadKeyFile(f"{path} can be read by others: run `chmod 600 {path}`.")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise BadKeyFile(f"{path} cannot be read as a key.") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyFile(f"{path} is not an Ed25519 key.")
    return key


def hardware() -> dict[str, str | int]:
    """Return what the portal shows of this machine; nothing that names its user."""
    return {
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numeric_class": sessions.numeric_class(),
        "software_version": config.software_version(),
    }


def _ask(url: str, body: dict[str, object]) -> Enrolled:
    content = ask(url, body)
    try:
        answer = Enrolled.model_validate_json(content)
        signatures.load_public(answer.platform_key)
    except (ValidationError, signatures.BadKey) as exc:
        raise EnrollmentFailed(
            "The portal's answer is not understood; is --portal right, and this version current?"
        ) from exc
    if answer.broker.queue != routes.node_queue_name(answer.id):
        raise EnrollmentFailed("The portal named another node's queue; ask its staff.")
    return answer


def ask(url: str, body: dict[str, object]) -> bytes:
    """Post JSON to the portal and return the body of its answer, at most 1 MiB.

    Raises:
        EnrollmentFailed: it cannot be reached or refused; `code` says why if it said so.
    """
    try:
        with httpx.stream("POST", url, json=body, timeout=TIMEOUT_SECONDS) as response:
            content = _read_bounded(response)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise EnrollmentFailed(f"The portal at {url} cannot be reached: {exc}.") from exc
    if not response.is_success:
        raise _refusal(response.status_code, content)
    return content


def _read_bounded(response: httpx.Response) -> bytes:
    content = b""
    for part in response.iter_bytes():
        content += part
        if len(content) > ANSWER_BYTES_MAX:
            raise EnrollmentFailed("The portal's answer is too long; is --portal right?")
    return content


class Problem(BaseModel):
    """The part of problem+json worth showing."""

    code: str = ""
    detail: str = ""


_ADVICE = {
    "token_invalid": "The token is unknown, used or expired: make a new one on the portal's "
    "page of nodes; each is good for one node, for some minutes.",
    "key_taken": "This machine's key is enrolled already: remove key.pem from its home to "
    "enrol as a new node.",
}


def _refusal(status: int, content: bytes) -> EnrollmentFailed:
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        problem = Problem()
    said = problem.detail or "no reason given"
    advice = _ADVICE.get(problem.code, f"The portal refused (HTTP {status}): {said}")
    return EnrollmentFailed(advice, code=problem.code)
