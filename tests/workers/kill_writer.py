"""Writes everything a node keeps, without end; a test kills it at a random moment."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from workers import config, control
from workers.config import Home
from workers.outbox import Outbox
from workers.protocol import messages
from workers.protocol.allowance import Allowance


def main() -> None:
    """Write for ever, more and more different things."""
    home = Home(Path(sys.argv[1]))
    outbox = Outbox(home.outbox_folder)
    number = 0
    while True:
        number += 1
        control.write_limits(home, Allowance(cores=1 + number % 32))
        control.write_settings(home, control.PageSettings(revision=number))
        config.pause(home, until=datetime.now(UTC))
        report = messages.Report(
            sent_at=datetime.now(UTC),
            node="n",
            assignment=str(number % 50),
            nonce="a" * 32,
            model_digest="b" * 64,
            status="done",
        )
        outbox.put(report)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
