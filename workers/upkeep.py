"""Commands that look after a node: doctor, bench, limits, logs, leave."""

from __future__ import annotations

import argparse
import collections
import contextlib
import fcntl
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from workers import benchmark, config, control, doctor, identity, leaving, transfer
from workers.config import Home
from workers.execution import Workshop
from workers.modelstore import ModelStore
from workers.outbox import Outbox
from workers.sessions import Sessions

EXIT_OK = 0
EXIT_ISSUES = 1
EXIT_NOT_ENROLLED = 2
FOLLOW_SECONDS = 0.5


class AlreadyRunning(Exception):
    """Another process runs this home's node."""


def lock(home: Home) -> IO[str]:
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


def examine(options: argparse.Namespace, home: Home) -> int:
    """Show what is wrong and how to mend it: 0 well, 1 something is broken, 2 not enrolled."""
    findings = doctor.examine(home)
    if options.json:
        say(json.dumps([finding.model_dump() for finding in findings], indent=2))
    for finding in () if options.json else findings:
        say(f"{finding.state:<8} {finding.name:<12} {finding.text}")
        if finding.fix:
            say(f"{'':<21} fix: {finding.fix}")
    if not home.config_file.exists():
        return EXIT_NOT_ENROLLED
    return EXIT_ISSUES if any(finding.state == "broken" for finding in findings) else EXIT_OK


def measure(options: argparse.Namespace, home: Home) -> int:
    """Show how many pictures a second each slot computes."""
    settings = config.read(home)
    allowed = control.effective(control.read_limits(home), control.read_settings(home))
    slots = options.slots or min(settings.slots, allowed.cores or settings.slots)
    if not settings.models:
        say("The portal named no built-in model at enrolment.")
        return EXIT_ISSUES
    with (
        lock(home),  # a running node would halve the figures, and owns the cache
        transfer.make_client() as client,
        ThreadPoolExecutor(1) as downloads,
    ):
        workshop = Workshop(
            store=ModelStore(home.models_folder, bytes_max=settings.cache_bytes_max),
            sessions=Sessions(),
            client=client,
            downloads=downloads,
        )
        model = settings.models[0]
        rates = benchmark.run(model, workshop=workshop, slots=slots, seconds=options.seconds)
    if options.json:
        say(json.dumps({"model": model.digest, "images_per_second": [round(r, 2) for r in rates]}))
        return EXIT_OK
    for number, rate in enumerate(rates, start=1):
        say(f"slot {number:<3} {rate:8.2f} pictures/s")
    say(f"together {sum(rates):8.2f} pictures/s with model {model.digest[:12]}")
    return EXIT_OK


def limit(options: argparse.Namespace, home: Home) -> int:
    """Show what holds, or change the file."""
    allowance = control.read_limits(home)
    for assignment in options.assignments:
        allowance = control.change(allowance, assignment)
    if options.assignments:
        home.make()
        control.write_limits(home, allowance)
    page = control.read_settings(home)
    if options.json:
        say(control.effective(allowance, page).model_dump_json(indent=2))
        return EXIT_OK
    wishes, effective = (
        control.describe(page.wishes),
        control.describe(control.effective(allowance, page)),
    )
    say(f"{'limit':<20} {'file':<24} {'page':<24} holds")
    for (key, own), (_, wished), (_, holds) in zip(
        control.describe(allowance), wishes, effective, strict=True
    ):
        say(f"{key:<20} {own:<24} {wished:<24} {holds}")
    say(f"The file is {home.limits_file}; a running node reads it within a second.")
    return EXIT_OK


def show_logs(options: argparse.Namespace, home: Home) -> int:
    """Show the last lines of the node's log, and on wish those to come."""
    config.read(home)
    try:
        file = home.log_file.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        say("There is no log yet: the node has not run.")
        return EXIT_ISSUES
    with file, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.writelines(collections.deque(file, options.lines))
        while options.follow:
            sys.stdout.write(file.read())
            sys.stdout.flush()
            time.sleep(FOLLOW_SECONDS)
    return EXIT_OK


def leave(options: argparse.Namespace, home: Home) -> int:
    """Retire the node for good, after its name was typed or --yes given."""
    settings = config.read(home)
    identity.load_key(home.key_file)
    with lock(home):
        kept = len(Outbox(home.outbox_folder).pending())
        if kept:
            say(f"{kept} finished pieces of work have no receipt yet and would not be paid.")
        if not options.yes:
            say(f"{settings.name} ({settings.node_id}) leaves for good; its key is removed.")
            sys.stdout.write(f"Type the node's name ({settings.name}) to go on: ")
            sys.stdout.flush()
            if sys.stdin.readline().strip() != settings.name:
                say("Nothing was changed.")
                return EXIT_ISSUES
        leaving.leave(home)
    say("Retired. What it has earned stays yours.")
    return EXIT_OK


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")
