"""Looks for what keeps a node from working, and says how to mend it.

Each check stands alone and never raises, so that one fault does not hide the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Literal

import httpx
from kombu import Queue
from pydantic import BaseModel

from workers import clock, config, control, identity, line, link, permission, sandbox, sessions
from workers.config import Config, Home
from workers.probe import Probe
from workers.protocol import limits, routes
from workers.sandbox import RoomLimits

TIMEOUT_SECONDS = 10
#: A model, its session and some pictures.
MEMORY_FREE_BYTES_MIN = 300 * limits.MIB
SKEW_SECONDS_WARN = 5.0


class Finding(BaseModel):
    """One check's outcome; `fix` says what to do unless all is well."""

    name: str
    state: Literal["ok", "warning", "broken"]
    text: str
    fix: str = ""


Check = Callable[[Home], Finding]


def examine(home: Home, *, more: Sequence[Check] = ()) -> list[Finding]:
    """Run every check, the cheap ones first; those in `more` last."""
    return [check(home) for check in (*CHECKS, *more)]


def check_config(home: Home) -> Finding:
    """Is the enrolment there and readable?"""
    try:
        found = config.read(home)
    except (config.NotEnrolled, config.Damaged) as exc:
        return _broken("config", str(exc), "restore config.json, or enrol anew in another --home")
    return _ok("config", f"{found.node_id} ({found.name}) at {found.portal_url}")


def check_key(home: Home) -> Finding:
    """Is the key there, ours, and closed to others?"""
    try:
        identity.load_key(home.key_file)
    except identity.BadKeyFile as exc:
        return _broken("key", str(exc), "chmod 600 the file, or restore it from your copy")
    return _ok("key", f"{home.key_file} is an Ed25519 key only you can read")


def check_limits(home: Home) -> Finding:
    """Can limits.toml be understood?"""
    try:
        control.read_limits(home)
    except control.BadLimits as exc:
        return _broken("limits", str(exc), "mend the line named, or remove the file")
    is_there = home.limits_file.exists()
    return _ok("limits", f"{home.limits_file if is_there else 'defaults (no limits.toml)'}")


def check_disk(home: Home) -> Finding:
    """Is there room for models, and can we write?"""
    probe = home.root / ".doctor.tmp"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
        free = shutil.disk_usage(home.root).free
    except OSError as exc:
        return _broken("disk", f"{home.root}: {exc.strerror}", "make it writable, or make room")
    text = f"{free // limits.MIB} MiB free"
    if free < permission.DISK_FREE_BYTES_BACK:
        return _broken("disk", text, "make room, or choose another --home")
    return _ok("disk", text)


def check_memory(home: Home) -> Finding:
    """Is memory free?"""
    free = Probe(home=home.root).read(skew_seconds=None, with_programs=False).memory_free_bytes
    if free is None:
        return _warning("memory", "this system does not tell", "nothing to do")
    text = f"{free // limits.MIB} MiB free"
    if free < MEMORY_FREE_BYTES_MIN:
        return _warning("memory", text, "close programs, or the node will rest (memory_low)")
    return _ok("memory", text)


def check_runtime(_home: Home) -> Finding:
    """Does ONNX Runtime load in a room and compute there?"""
    text = sessions.numeric_class()
    try:
        sandbox.start_room(room_limits=RoomLimits(priority="normal")).close()
    except sandbox.RoomUnavailable as exc:
        fix = "pip install --force-reinstall 'nodefolk[node]'"
        return _broken("onnxruntime", f"{text}: {exc}", fix)
    return _ok("onnxruntime", text)


def check_locks(_home: Home) -> Finding:
    """Which locks does a room for models get from this kernel?"""
    try:
        found = sandbox.locks_present()
    except sandbox.RoomUnavailable as exc:
        return _broken("locks", str(exc), "see `nodefolk-node logs`; models cannot be run")
    held = ", ".join(lock.lock for lock in found if lock.is_present)
    missing = [lock for lock in found if not lock.is_present and not lock.detail]
    text = f"a model's room holds {held}"
    if sandbox.can_lock():
        return _ok("locks", text)
    return Finding(
        name="locks",
        state="warning",
        text=f"{text}; not {', '.join(lock.lock for lock in missing)}",
        fix="built-in models only; a Linux kernel of 5.13 or newer with Landlock takes all",
    )


def check_portal(home: Home) -> Finding:
    """Does the portal answer?"""
    settings = _settings(home)
    if settings is None:
        return _warning("portal", "not asked: not enrolled", "see config")
    url = f"{settings.portal_url.rstrip('/')}{routes.LIVE_PATH}"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return _broken("portal", f"{url}: {exc}", "check network, name service and proxy")
    if answer.status_code != httpx.codes.OK:
        return _broken("portal", f"{url} answers {answer.status_code}", "try later; ask its staff")
    return _ok("portal", settings.portal_url)


def check_clock(home: Home) -> Finding:
    """Does our clock agree with the portal's?"""
    settings = _settings(home)
    skew = None if settings is None else clock.skew_seconds(settings.portal_url)
    if skew is None:
        return _warning("clock", "the portal did not tell the time", "see portal")
    text = f"{skew:+.1f} s from the portal's"
    if abs(skew) > permission.SKEW_SECONDS_MAX:
        return _broken("clock", text, "set the clock, best by NTP (timedatectl set-ntp true)")
    if abs(skew) > SKEW_SECONDS_WARN:
        return _warning("clock", text, "best set by NTP (timedatectl set-ntp true)")
    return _ok("clock", text)


def check_broker(home: Home) -> Finding:
    """Does the broker let us in, and is our queue there?"""
    settings = _settings(home)
    if settings is None:
        return _warning("broker", "not asked: not enrolled", "see config")
    name = settings.broker.queue
    try:
        with link.connect(settings.broker) as connection:
            connection.ensure_connection(max_retries=1, timeout=TIMEOUT_SECONDS)
            # A node may not declare; asking for what is there is allowed.
            Queue(name, no_declare=True)(connection.default_channel).queue_declare(passive=True)
    except line.ERRORS as exc:
        text = f"{type(exc).__name__}: {exc}"[:200]
        return _broken("broker", text, "see the node's page: it may be suspended or retired")
    return _ok("broker", f"logged in, queue {name} is there")


CHECKS: tuple[Check, ...] = (
    check_config,
    check_key,
    check_limits,
    check_disk,
    check_memory,
    check_runtime,
    check_locks,
    check_portal,
    check_clock,
    check_broker,
)


def _settings(home: Home) -> Config | None:
    try:
        return config.read(home)
    except (config.NotEnrolled, config.Damaged):
        return None


def _ok(name: str, text: str) -> Finding:
    return Finding(name=name, state="ok", text=text)


def _warning(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="warning", text=text, fix=fix)


def _broken(name: str, text: str, fix: str) -> Finding:
    return Finding(name=name, state="broken", text=text, fix=fix)
