"""`nodefolk-node`: enrol this machine, run it, look at it, pause and resume it."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from celery.worker import state as worker_state

from workers import config, identity, rotation, status
from workers.config import Home
from workers.protocol import limits
from workers.worker import NodeApp, make_app

EXIT_OK = 0
EXIT_ISSUES = 1
EXIT_NOT_ENROLLED = 2
#: What a shell sees when a second signal ended the node.
EXIT_ABANDONED = 130

Command = Callable[[argparse.Namespace, Home], int]


class AlreadyRunning(Exception):
    """Another process runs this home's node."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; errors are one sentence each."""
    options = _parser().parse_args(arguments)
    home = Home(options.home.expanduser()) if options.home else Home.from_environment()
    command: Command = options.command
    try:
        return command(options, home)
    except config.NotEnrolled as exc:
        _complain(f"{exc} Get a token on the portal and run `nodefolk-node enroll`.")
        return EXIT_NOT_ENROLLED
    except (
        config.Damaged,
        identity.AlreadyEnrolled,
        identity.BadKeyFile,
        identity.EnrollmentFailed,
        AlreadyRunning,
    ) as exc:
        _complain(str(exc))
        return EXIT_ISSUES
    except OSError as exc:
        _complain(f"{exc.filename or home.root}: {exc.strerror or exc}.")
        return EXIT_ISSUES


def _enroll(options: argparse.Namespace, home: Home) -> int:
    enrolled = identity.enroll(
        home=home,
        portal_url=options.portal,
        token=options.token,
        name=options.name,
        slots=options.slots,
    )
    _say(f"Enrolled as {enrolled.node_id} ({enrolled.name}). Start it with `nodefolk-node run`.")
    return EXIT_OK


def _run(options: argparse.Namespace, home: Home) -> int:
    app = make_app(home, poll_seconds=options.poll_seconds)
    with _lock(home):
        logging.getLogger("httpx").setLevel(logging.WARNING)
        node = app.Worker(
            hostname=f"node@{platform.node()}", loglevel=options.log_level, quiet=True
        )
        with contextlib.suppress(SystemExit):  # Celery's way to end after a signal
            node.start()
        code = _exit_code(app)
    if app.runtime.was_abandoned:
        # Slots still compute inside native code that no thread can be called out of.
        logging.shutdown()
        os._exit(code)
    return code


def _status(options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    state = status.read(home)
    condition = status.judge(state, is_alive=status.is_alive(state), now=datetime.now(UTC))
    if options.json:
        _say(condition.model_dump_json(indent=2))
    else:
        _say("\n".join(_table(condition)))
    return EXIT_OK if condition.is_healthy else EXIT_ISSUES


def _pause(_options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    config.pause(home)
    _say("Paused: running work ends, new work is handed back. Undo: `nodefolk-node resume`.")
    return EXIT_OK


def _resume(_options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    config.resume(home)
    _say("Resumed.")
    return EXIT_OK


def _rotate(_options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    with _lock(home):
        rotation.rotate(home=home, now=datetime.now(UTC))
    _say("The key and the broker password are new; the old ones are good for nothing.")
    return EXIT_OK


def _exit_code(app: NodeApp) -> int:
    """Return 0 only when a signal asked for the end and all work was finished."""
    if app.runtime.was_abandoned:
        return EXIT_ABANDONED
    was_asked: object = worker_state.should_stop
    return EXIT_ISSUES if was_asked is None else EXIT_OK


def _lock(home: Home) -> IO[str]:
    """Return an open file whose lock says that this home's node runs; closing frees it.

    Raises:
        AlreadyRunning: another process holds it.
    """
    file = home.lock_file.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.close()
        raise AlreadyRunning(f"The node in {home.root} is running already.") from exc
    return file


def _table(condition: status.Condition) -> list[str]:
    rows = [("state", "healthy" if condition.is_healthy else "needs attention")]
    state = condition.state
    if state is not None:
        contact = f"{state.contact_at:%Y-%m-%d %H:%M:%S} UTC" if state.contact_at else "never"
        refused = ", ".join(f"{count} {reason}" for reason, count in state.refused.items())
        rows += [
            ("node", f"{state.node_id} ({state.name})"),
            ("reason", state.reason or ("working" if state.assignments else "no_work")),
            ("running", ", ".join(state.assignments) or "nothing"),
            ("slots", str(state.slots)),
            ("done", f"{state.done} ({state.failed} failed, {state.handed_back} handed back)"),
            ("refused", refused or "nothing"),
            ("not yet sent", f"{state.unconfirmed_reports} reports"),
            ("last contact", contact),
            ("models", ", ".join(digest[:12] for digest in state.cached_models) or "none"),
            ("numeric class", state.numeric_class),
            ("version", state.software_version),
        ]
    rows += [("issue", issue) for issue in condition.issues]
    return [f"{name:<14} {value}" for name, value in rows]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nodefolk-node", description="Lend this computer to Nodefolk and be paid for it."
    )
    parser.add_argument("--home", type=Path, help="folder of this node (default: ~/.nodefolk)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    enroll = _add(commands, "enroll", _enroll, "bind this machine to your account, once")
    enroll.add_argument("--portal", required=True, help="for example https://nodefolk.example")
    enroll.add_argument("--token", required=True, help="from the portal's page of nodes")
    enroll.add_argument("--name", default=platform.node()[:80] or "node", type=_name)
    enroll.add_argument("--slots", default=1, type=_slots, help="pieces of work at one time")
    run = _add(commands, "run", _run, "take work until stopped")
    run.add_argument("--poll-seconds", type=_seconds, help="how often a file broker is looked at")
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    shown = _add(commands, "status", _status, "show what the node does, and what is wrong")
    shown.add_argument("--json", action="store_true")
    _add(commands, "pause", _pause, "take no new work")
    _add(commands, "resume", _resume, "take work again")
    _add(commands, "rotate", _rotate, "change the key and the broker password (while stopped)")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Command,
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.set_defaults(command=command)
    return parser


def _name(text: str) -> str:
    if not 1 <= len(text) <= 80:
        raise argparse.ArgumentTypeError("a name has 1 to 80 characters")
    return text


def _slots(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= limits.SLOTS_MAX:
        raise argparse.ArgumentTypeError(f"a number from 1 to {limits.SLOTS_MAX}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= 60:
        raise argparse.ArgumentTypeError("seconds from 0.001 to 60")
    return seconds


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"nodefolk-node: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
