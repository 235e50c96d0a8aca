"""A node's program that floods: signed messages as fast as the machine can, without confirms.

`python -m tests.hostile.flooder` reads one JSON object from its input: url, login, key, body,
properties, seconds_max, connections. It prints one: how many went out, in how many seconds,
and whether it was cut off. A process of its own, so that it slows nobody who measures.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from amqp import Message
from amqp.exceptions import AMQPError
from kombu import Connection


class Flood:
    """The connections and what they sent."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._until = time.monotonic() + plan["seconds_max"]
        self.sent = [0] * plan["connections"]
        self.cut_off = [False] * plan["connections"]

    def run(self, number: int) -> None:
        plan = self._plan
        message = Message(plan["body"], **plan["properties"])
        try:
            with Connection(plan["url"], **plan["login"], connect_timeout=10) as connection:
                channel: Any = connection.channel()
                while time.monotonic() < self._until:
                    for _ in range(100):
                        channel.basic_publish(message, "ingress", plan["key"])
                    self.sent[number] += 100
        except (AMQPError, OSError):
            self.cut_off[number] = True


def main() -> None:
    plan = json.load(sys.stdin)
    flood = Flood(plan)
    threads = [
        threading.Thread(target=flood.run, args=(number,)) for number in range(plan["connections"])
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {
        "sent": sum(flood.sent),
        "seconds": time.monotonic() - started,
        "is_cut_off": all(flood.cut_off),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
