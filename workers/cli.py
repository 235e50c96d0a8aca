"""`nodefolk-node`: enrol this machine, run it, look at it, limit it, leave."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TypeAlias

from celery.signals import after_setup_logger
from celery.worker import state as worker_state

from workers import (
    config,
    control,
    identity,
    leaving,
    memory,
    readiness,
    reasons,
    rotation,
    standing,
    status,
    upkeep,
)
from workers.config import Home
from workers.protocol import limits, messages
from workers.sandbox import RoomLimits
from workers.worker import NodeApp, make_app

EXIT_OK = upkeep.EXIT_OK
EXIT_ISSUES = upkeep.EXIT_ISSUES
EXIT_NOT_ENROLLED = upkeep.EXIT_NOT_ENROLLED
LOG_BYTES_MAX = limits.MIB
LOGS_KEPT = 3
#: Longest pause with an end.
PAUSE_MAX = timedelta(days=365)
DURATION_UNITS = {"m": 60, "h": 3600, "d": 86_400}
#: Characters of a line beside its name.
TEXT_WIDTH = 84
#: What a shell sees when a second signal ended the node.
EXIT_ABANDONED = 130

Command = Callable[[argparse.Namespace, Home], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 -- has no public name


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
        upkeep.AlreadyRunning,
        control.BadLimits,
        leaving.NotReleased,
        *readiness.MODEL_ERRORS,
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
    memory.keep_blocks()
    app = make_app(
        home,
        poll_seconds=options.poll_seconds,
        room_limits=RoomLimits(priority=options.priority),
    )
    with upkeep.lock(home):
        logging.getLogger("httpx").setLevel(logging.WARNING)
        after_setup_logger.connect(_log_to_file(home), weak=False)
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
    settings = config.read(home)
    state = status.read(home)
    now = datetime.now(UTC)
    told = _told(settings, home, now=now)
    condition = status.judge(state, is_alive=status.is_alive(state), told=told, now=now)
    if options.json:
        _say(condition.model_dump_json(indent=2))
    else:
        _say("\n".join(_table(condition)))
    return EXIT_OK if condition.is_healthy else EXIT_ISSUES


def _told(settings: config.Config, home: Home, *, now: datetime) -> messages.Standing | None:
    """Ask the portal, if the key is there to show who asks; `doctor` tells what ails it."""
    try:
        key = identity.load_key(home.key_file)
    except identity.BadKeyFile:
        return None
    return standing.ask(settings, key=key, now=now)


def _pause(options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    until = datetime.now(UTC) + options.duration if options.duration else None
    config.pause(home, until=until)
    ends = f" It ends {until.astimezone():%Y-%m-%d %H:%M}." if until else ""
    _say(f"Paused: running work ends, new work is handed back.{ends} `resume` undoes it.")
    return EXIT_OK


def _resume(_options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    config.resume(home)
    _say("Resumed.")
    return EXIT_OK


def _log_to_file(home: Home) -> Callable[..., None]:
    """Return a receiver that writes what Celery's log shows to the home's log as well."""

    def add_file(logger: logging.Logger, loglevel: int, format: str, **_: Any) -> None:
        try:
            handler = RotatingFileHandler(
                home.log_file, maxBytes=LOG_BYTES_MAX, backupCount=LOGS_KEPT, encoding="utf-8"
            )
        except OSError as exc:  # a full or read-only disk must not stop the node
            logger.warning("no log file: %s", exc)
            return
        handler.setFormatter(logging.Formatter(format))
        handler.setLevel(loglevel)
        logger.addHandler(handler)

    return add_file


def _rotate(_options: argparse.Namespace, home: Home) -> int:
    config.read(home)
    with upkeep.lock(home):
        rotation.rotate(home=home, now=datetime.now(UTC))
    _say("The key and the broker password are new; the old ones are good for nothing.")
    return EXIT_OK


def _exit_code(app: NodeApp) -> int:
    """Return 0 only when a signal asked for the end and all work was finished."""
    if app.runtime.was_abandoned:
        return EXIT_ABANDONED
    was_asked: object = worker_state.should_stop
    return EXIT_ISSUES if was_asked is None else EXIT_OK


def _table(condition: status.Condition) -> list[str]:
    rows = [("state", "healthy" if condition.is_healthy else "needs attention")]
    state = condition.state
    if state is not None:
        contact = f"{state.contact_at:%Y-%m-%d %H:%M:%S} UTC" if state.contact_at else "never"
        refused = ", ".join(f"{count} {reason}" for reason, count in state.refused.items())
        rows += [
            ("node", f"{state.node_id} ({state.name})"),
            ("reason", _reason(condition.reason, is_working=bool(state.assignments))),
            ("running", ", ".join(state.assignments) or "nothing"),
            ("slots", str(state.slots)),
            ("done", f"{state.done} ({state.failed} failed, {state.handed_back} handed back)"),
            ("refused", refused or "nothing"),
            ("no receipt yet", f"{state.unconfirmed_reports} reports"),
            ("last contact", contact),
            ("models", ", ".join(digest[:12] for digest in state.cached_models) or "none"),
            ("speed", f"{state.images_per_second:g} pictures/s a slot"),
            ("numeric class", state.numeric_class),
            ("version", state.software_version),
        ]
    rows += [("issue", issue) for issue in condition.issues]
    for warning in condition.warnings:
        first, *more = textwrap.wrap(warning, TEXT_WIDTH)
        rows += [("warning", first), *(("", line) for line in more)]
    return [f"{name:<14} {value}" for name, value in rows]


def _reason(reason: str, *, is_working: bool) -> str:
    """Return the code and its words, the same as on the node's page."""
    if not reason and is_working:
        return "working"
    code = reason or reasons.NO_WORK
    fix = reasons.TEXTS[code][1] if code in reasons.TEXTS else ""
    return f"{code}: {reasons.text(code)}" + (f" ({fix})" if fix else "")


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
    run.add_argument(
        "--priority",
        default="idle",
        choices=["idle", "low", "normal"],
        help="idle: compute only when no other program wants the processor",
    )
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    shown = _add(commands, "status", _status, "show what the node does, and what is wrong")
    shown.add_argument("--json", action="store_true")
    pause = _add(commands, "pause", _pause, "take no new work")
    pause.add_argument("duration", nargs="?", type=_duration, help="for example 30m, 2h or 1d")
    _add(commands, "resume", _resume, "take work again")
    _add(commands, "rotate", _rotate, "change the key and the broker password (while stopped)")
    _add_upkeep(commands)
    return parser


def _add_upkeep(commands: Commands) -> None:
    doctor = _add(commands, "doctor", upkeep.examine, "look for what is wrong and how to mend it")
    doctor.add_argument("--json", action="store_true")
    bench = _add(commands, "bench", upkeep.measure, "measure pictures a second of each slot")
    bench.add_argument("--seconds", type=_seconds, default=5.0)
    bench.add_argument("--slots", type=_slots)
    bench.add_argument("--json", action="store_true")
    limit = _add(commands, "limits", upkeep.limit, "show what the node may use, or change it")
    limit.add_argument("--json", action="store_true")
    actions = limit.add_subparsers(metavar="set")
    limit.set_defaults(assignments=[])
    change = actions.add_parser("set", help="change the file, for example cores=2 battery=true")
    change.add_argument("assignments", nargs="+", metavar="key=value")
    logs = _add(commands, "logs", upkeep.show_logs, "show the node's log")
    logs.add_argument("-n", "--lines", type=_lines, default=50)
    logs.add_argument("-f", "--follow", action="store_true")
    leave = _add(commands, "leave", upkeep.leave, "retire this node for good, remove its key")
    leave.add_argument("--yes", action="store_true", help="do not ask")


def _add(
    commands: Commands,
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


def _lines(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError("a number from 1 to 100000")
    return int(text)


def _duration(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:].lower()
    if not (number.isascii() and number.isdecimal() and unit in DURATION_UNITS):
        raise argparse.ArgumentTypeError("a time such as 30m, 2h or 1d")
    duration = timedelta(seconds=min(int(number), 10**9) * DURATION_UNITS[unit])
    if not timedelta(0) < duration <= PAUSE_MAX:
        raise argparse.ArgumentTypeError("at most a year")
    return duration


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"nodefolk-node: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
