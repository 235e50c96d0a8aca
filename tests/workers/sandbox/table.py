"""Print the table of the sandbox: each lock, whether it is here, each attack and its outcome.

    python -m tests.workers.sandbox.table

A lock is tried in a room in which the strongest other locks are left open, so that it is this
one that stops the attack; the last part is the room as nodes use it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.workers.sandbox import escape
from tests.workers.sandbox.escape import ATTEMPTS
from workers import sandbox
from workers.room import locks

WITHOUT = {
    locks.LANDLOCK: (locks.SECCOMP, locks.NETWORK),
    locks.SECCOMP: (locks.LANDLOCK,),
    locks.NETWORK: (locks.SECCOMP, locks.LANDLOCK),
    locks.RLIMITS: (locks.SECCOMP, locks.LANDLOCK),
    locks.CAPABILITIES: (locks.SECCOMP, locks.LANDLOCK),
}
ROW = "| {:<17} | {:<7} | {:<27} | {:<24} |\n"


def main() -> int:
    """Print all rows; 1 when an attack got out of the room with all locks."""
    sys.stdout.write(ROW.format("lock", "present", "attack", "outcome"))
    sys.stdout.write(ROW.format("---", "---", "---", "---"))
    for lock, without in WITHOUT.items():
        _print_rows(lock, without)
    return 0 if _print_rows("all", ()) else 1


def _print_rows(lock: str, without: tuple[str, ...]) -> bool:
    """Print one lock's rows and say whether each attack was stopped and nothing touched."""
    is_stopped = True
    with tempfile.TemporaryDirectory() as folder, escape.prey(Path(folder)) as prey:
        for attempt in ATTEMPTS:
            if lock not in {"all", *attempt.locks}:
                continue
            with escape.hostile_room(Path(folder), without=without) as room:
                is_present = lock == "all" or lock in room.held
                said = "not tried"
                if is_present:
                    said = escape.attack(room, attempt.name, *prey.fill_in(attempt.arguments))
            is_stopped &= said.startswith("stopped: ")
            present = "yes" if is_present else "no"
            sys.stdout.write(ROW.format(lock, present, attempt.title, said[:40]))
        return is_stopped and prey.is_untouched()


if __name__ == "__main__":
    if not sandbox.can_lock():
        sys.stderr.write("This kernel lacks Landlock or seccomp; what there is:\n")
    sys.exit(main())
