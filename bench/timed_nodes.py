"""Nodes that compute by waiting: a node's own mind, messages and leases, a process each.

The mind is `workers.agent`, so heartbeats, waiting work and withdrawals are those of a real
node; only the pictures are not looked at. Such a node uses no processor while it "computes",
so two cores hold many, and each can be killed, stopped or slow without slowing the others.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Consumer, Exchange, Producer, Queue

from workers import agent, events, inbox
from workers.protocol import messages, routes, signatures

INGRESS = Exchange("ingress", type="topic", no_declare=True)
#: What everyone finds on every picture: class, score, box.
FOUND: messages.Detection = (1, 0.9, 8.0, 8.0, 24.0, 24.0)
#: How often due work and heartbeats are looked at, seconds.
TICK_SECONDS = 0.02
READY_SECONDS = 60
#: The time a picture takes varies by this much either way, as pictures do.
VARIATION = 0.2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One node as the bench wants it."""

    id: str
    login: dict[str, Any]
    #: Base64 of its secret key.
    key: str
    platform_key: str
    picture_seconds: float
    #: Pixels of every picture.
    width: int
    height: int


@dataclass
class Fleet:
    """The processes, in the order of their plans."""

    processes: list[BaseProcess] = field(default_factory=list)
    pipes: list[Pipe] = field(default_factory=list)

    def signal(self, place: int, number: signal.Signals) -> float:
        """Send a signal to one node; return the time on the platform's clock."""
        pid = self.processes[place].pid
        assert pid is not None
        os.kill(pid, number)
        return time.time()

    def stop(self) -> None:
        """Kill all: how they end is not measured."""
        for process in self.processes:
            process.kill()
            process.join()
        for pipe in self.pipes:
            pipe.close()


def start(plans: Sequence[Plan]) -> Fleet:
    """Start them all; return when each listens."""
    spawn = multiprocessing.get_context("spawn")
    fleet = Fleet()
    for plan in plans:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_run, args=(plan, theirs), daemon=True)
        process.start()
        theirs.close()
        fleet.processes.append(process)
        fleet.pipes.append(ours)
    for plan, pipe in zip(plans, fleet.pipes, strict=True):
        if not pipe.poll(READY_SECONDS):
            fleet.stop()
            raise SystemExit(f"{plan.id} does not listen after {READY_SECONDS} s.")
        pipe.recv()
    return fleet


def _run(plan: Plan, pipe: Pipe) -> None:
    _Node(plan).run(pipe)


class _Node:
    """One node, on one thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(plan.key))
        self._agent = agent.Agent(
            node_id=plan.id,
            slots=1,
            numeric_class="bench",
            software_version="bench",
            jitter=lambda: random.uniform(-1, 1),
        )
        #: What is being computed, and when it is done.
        self._running: messages.Assignment | None = None
        self._due = 0.0

    def run(self, pipe: Pipe) -> None:
        """Listen and "compute" until killed."""
        login = self._plan.login
        address = login["url"].removeprefix("amqp://").partition("/")[0]
        url = f"amqp://{login['username']}:{login['password']}@{address}/{login['vhost']}"
        box = Queue(login["queue"], no_declare=True)
        with Connection(url) as connection, connection.channel() as channel:
            self._producer = Producer(channel, auto_declare=False)
            with Consumer(channel, [box], on_message=self._take, auto_declare=False, no_ack=True):
                self._step(events.ModelsChanged((), is_downloading=False))
                self._step(events.ListeningChanged(True))  # noqa: FBT003 -- the event's own field
                pipe.send("listening")
                while True:
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=TICK_SECONDS)
                    self._finish_due()
                    self._step(events.Ticked())

    def _take(self, message: Any) -> None:
        (text, signature), _, _ = json.loads(message.body)
        task = message.headers["task"]
        self._step(inbox.read(task, text, signature, platform_key=self._plan.platform_key))

    def _step(self, event: events.Event) -> None:
        for instruction in self._agent.step(event, now=datetime.now(UTC)):
            match instruction:
                case events.SendAck():
                    self._publish("ack", instruction.message)
                case events.SendHeartbeat():
                    self._publish("heartbeat", instruction.message)
                case events.SendReport():
                    self._publish("report", instruction.message)
                case events.Start():
                    self._begin(instruction.assignment)
                case events.Cancel():
                    self._due = 0.0  # ends at once; the agent keeps back the report
                case _:
                    pass  # nothing is fetched, kept or stored here

    def _begin(self, assignment: messages.Assignment) -> None:
        vary = random.uniform(1 - VARIATION, 1 + VARIATION)
        self._running = assignment
        self._due = time.monotonic() + vary * self._plan.picture_seconds * len(assignment.inputs)

    def _finish_due(self) -> None:
        done = self._running
        if done is None or time.monotonic() < self._due:
            return
        self._running = None
        self._step(events.Finished(done.assignment, self._report(done)))

    def _report(self, assignment: messages.Assignment) -> messages.Report:
        return messages.Report(
            sent_at=datetime.now(UTC),
            node=assignment.node,
            assignment=assignment.assignment,
            nonce=assignment.nonce,
            model_digest=assignment.model.digest,
            status="done",
            answers=[
                messages.Answer(
                    position=each.position,
                    width=self._plan.width,
                    height=self._plan.height,
                    detections=[FOUND],
                )
                for each in assignment.inputs
            ],
            compute_ms=round(1000 * self._plan.picture_seconds * len(assignment.inputs)),
            numeric_class="bench",
        )

    def _publish(self, kind: str, message: messages.Message) -> None:
        body = message.model_dump_json().encode()
        self._producer.publish(
            body,
            exchange=INGRESS,
            routing_key=routes.ingress_key(kind, self._plan.id),
            content_type="application/json",
            content_encoding="utf-8",
            user_id=routes.broker_username(self._plan.id),
            headers={signatures.HEADER: signatures.sign(body, key=self._key)},
            declare=[],
        )
