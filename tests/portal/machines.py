"""A node's mind and files, its machine in the test's hands, the platform's rows behind it."""

from __future__ import annotations

import os
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import transaction
from django.utils import timezone

from tasks import acks, leases
from tasks.models import Node
from tests.tasks import work
from tests.workers.probes import FakeProbe
from workers import cli, config, control, events, status
from workers.agent import Agent
from workers.config import BrokerLogin, Config, Home
from workers.protocol import messages, routes
from workers.protocol.allowance import Allowance
from workers.steering import Steering

SLOTS = 3


class Machine:
    """Everything of a node but its threads and its broker; heartbeats go straight into rows."""

    def __init__(self, node: Node, *, key: Ed25519PrivateKey, home: Home, portal: str) -> None:
        self.node = node
        self.home = home
        self.probe = FakeProbe()
        #: Names of assignments it began to compute, and of those it was told to stop.
        self.begun: list[str] = []
        self.stopped: list[str] = []
        home.make()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        config.write_atomically(home.key_file, pem)
        login = BrokerLogin(url="amqp://broker.example", queue=routes.node_queue_name(node.pk))
        config.write(
            home,
            Config(
                node_id=node.pk,
                name=node.name,
                portal_url=portal,
                slots=SLOTS,
                broker=login,
                platform_key="k",
                models=[],
            ),
        )
        control.write_limits(home, Allowance())
        self._begin()
        self.beat()

    def _begin(self) -> None:
        self.agent = Agent(
            node_id=self.node.pk,
            slots=SLOTS,
            numeric_class=self.node.numeric_class,
            software_version="1",
            jitter=lambda: 0.0,
        )
        self.steering = Steering(
            home=self.home, slots_max=SLOTS, probe=self.probe, obey=lambda _: None
        )
        self.feed(events.ListeningChanged(is_listening=True))
        self.look()

    def restart(self) -> None:
        """Start the program again; it fetches its models first."""
        self._begin()

    def feed(self, event: events.Event) -> None:
        """Let the node take an event, and the platform what the node says of it."""
        now = timezone.now()
        for instruction in self.agent.step(event, now=now):
            match instruction:
                case events.SendHeartbeat():
                    with transaction.atomic():
                        leases.renew([instruction.message], now=now)
                case events.SendAck():
                    with transaction.atomic():
                        acks.accept([instruction.message], now=now)
                case events.SendReport():
                    work.take(instruction.message, now=now)
                case events.KeepSettings():
                    self.steering.keep(instruction.settings)
                case events.Start():
                    self.begun.append(instruction.assignment.assignment)
                case events.Cancel():
                    self.stopped.append(instruction.assignment)

    def beat(self) -> None:
        """Let it say that it is there."""
        self.feed(events.ModelsChanged((), is_downloading=False))

    def look(self, **readings: object) -> None:
        """Let it look at its machine and files, long enough for every cause to count."""
        self.probe.found |= readings
        for _ in range(2):
            self.probe.seconds += 120
            for event in self.steering.look(now=timezone.now(), images_per_second=0.0):
                self.feed(event)

    def limit(self, **limits: object) -> None:
        """Write its own file, as its operator does."""
        control.write_limits(self.home, Allowance(**limits))
        self.look()

    def hear_page(self) -> None:
        """Let it take what its page asks for."""
        row = Node.objects.get(pk=self.node.pk)
        settings = messages.NodeSettings(
            sent_at=timezone.now(),
            node=row.pk,
            revision=row.settings_revision,
            is_paused=row.state == Node.State.PAUSED,
            wishes=Allowance(**row.wishes),
        )
        self.feed(events.SettingsReceived(settings))
        self.look()

    def fall_silent(self) -> None:
        """Let nobody hear of it for a day, as with its cable out."""
        self.feed(events.ListeningChanged(is_listening=False))
        Node.objects.filter(pk=self.node.pk).update(last_seen_at=timezone.now() - timedelta(days=1))

    def status(self, *options: str) -> int:
        """Run `nodefolk-node status` beside the running node; return its exit code."""
        now = timezone.now()
        status.write(
            self.home,
            status.State(
                node_id=self.node.pk,
                name=self.node.name,
                software_version="1",
                numeric_class=self.node.numeric_class,
                pid=os.getpid(),
                process_started=status.process_started(os.getpid()),
                state="running",
                reason=self.agent.reason,
                slots=SLOTS,
                assignments=self.agent.held,
                cached_models=[],
                done=0,
                failed=0,
                handed_back=0,
                withdrawn=0,
                refused={},
                unconfirmed_reports=0,
                contact_at=now,
                trouble="",
                written_at=now,
            ),
        )
        return cli.main(["--home", str(self.home.root), "status", *options])
