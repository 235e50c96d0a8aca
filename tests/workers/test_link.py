"""Publishing over the file broker, with a broker that is away, refuses, or comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kombu import Connection, Exchange

from tests.workers.platform_double import NODE_ID
from workers import link as links
from workers.config import BrokerLogin
from workers.link import Link
from workers.outbox import Outbox
from workers.protocol import messages, signatures

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(links, "BACKOFF_SECONDS", (0.01,))
    monkeypatch.setattr(links, "RESEND_SECONDS", 0.05)
    monkeypatch.setattr(links, "BROKER_HEARTBEAT_SECONDS", 0.4)


@pytest.fixture
def outbox(home) -> Outbox:
    return Outbox(home.outbox_folder)


@pytest.fixture
def make_link(outbox) -> Iterator[Callable[..., Link]]:
    made: list[Link] = []

    def make(connect: Callable[[], Connection]) -> Link:
        link = Link(node_id=NODE_ID, key=KEY, outbox=outbox, connect=connect, clock=lambda: NOW)
        made.append(link)
        return link

    yield make
    for link in made:
        link.close(5)


def login(url: str) -> BrokerLogin:
    return BrokerLogin(url=url, queue=f"node.{NODE_ID}")


def make_report(assignment: str = "1") -> messages.Report:
    return messages.Report(
        sent_at=NOW,
        node=NODE_ID,
        assignment=assignment,
        nonce="0" * 32,
        model_digest="a" * 64,
        status="done",
    )


def receipt_of(report: messages.Report) -> messages.ReportName:
    return messages.ReportName(assignment=report.assignment, nonce=report.nonce)


def make_heartbeat(second: int) -> messages.Heartbeat:
    return messages.Heartbeat(
        sent_at=NOW.replace(second=second), node=NODE_ID, running=[], slots=1, cached_models=[]
    )


def test_a_confirmed_report_stays_in_the_outbox_until_the_receipt(platform, make_link, outbox):
    platform.node_keys[NODE_ID] = signatures.public_text(KEY)
    link = make_link(lambda: links.connect(login(platform.broker_url)))
    link.start()

    link.send_report(make_report())

    found = platform.receive(lambda found: found.kind == "report")
    assert found.report == make_report()
    assert (found.sender, found.properties["user_id"]) == (NODE_ID, f"node-{NODE_ID}")
    assert link.flush(5)
    assert len(outbox.pending()) == 1
    link.forget([receipt_of(make_report())])
    assert outbox.pending() == []
    assert (link.contact_at, link.trouble) == (NOW, "")


def test_a_report_without_a_receipt_is_sent_again(platform, make_link, outbox, monkeypatch):
    monkeypatch.setattr(links, "RESEND_SECONDS", 0.1)
    monkeypatch.setattr(links, "RECEIPT_SECONDS", 0.2)
    monkeypatch.setattr(links, "BROKER_HEARTBEAT_SECONDS", 0.2)
    link = make_link(lambda: links.connect(login(platform.broker_url)))
    link.start()

    link.send_report(make_report())

    for _ in range(2):
        assert platform.receive(lambda found: found.kind == "report").report == make_report()
    link.forget([receipt_of(make_report())])
    assert outbox.pending() == []


def test_a_receipt_removes_only_what_it_names(make_link, outbox):
    for number in range(2):
        outbox.put(make_report(str(number)))
    link = make_link(lambda: None)

    link.forget([receipt_of(make_report("1")), receipt_of(make_report("7"))])

    assert outbox.pending() == [outbox.path_of(make_report("0"))]


def test_a_report_is_on_disk_before_it_is_published(make_link, outbox, platform):
    link = make_link(lambda: links.connect(login(platform.broker_url)))

    link.send_report(make_report())

    assert len(outbox.pending()) == 1


def test_a_report_waits_for_a_broker_that_is_away(platform, make_link, outbox):
    refusals = iter(range(5))
    tried = threading.Event()

    def connect() -> Connection:
        if next(refusals, None) is not None:
            tried.set()
            raise ConnectionRefusedError("away")
        return links.connect(login(platform.broker_url))

    link = make_link(connect)
    link.start()

    link.send_report(make_report())

    assert tried.wait(5)
    assert platform.receive(lambda found: found.kind == "report").report == make_report()
    assert link.flush(5)
    assert link.trouble == ""


def test_a_report_survives_a_broker_that_refuses(tmp_path, make_link, outbox):
    """The file broker answers 404 as long as nobody has declared the exchange."""
    url = f"filebroker://{tmp_path}/empty"
    link = make_link(lambda: links.connect(login(url)))
    link.start()

    link.send_report(make_report())
    link.send_ack(
        messages.AckMessage(sent_at=NOW, node=NODE_ID, job="j", slots=1, cached_models=[])
    )

    assert link.flush(5)
    assert "ingress" in link.trouble
    assert link.contact_at is None
    assert len(outbox.pending()) == 1
    Exchange("ingress", type="topic")(links.connect(login(url)).default_channel).declare()
    assert _is_true(lambda: link.contact_at is not None)
    assert (link.trouble, link.contact_at) == ("", NOW)


def test_reports_of_an_earlier_run_are_sent(platform, make_link, outbox):
    for number in range(3):
        outbox.put(make_report(str(number)))
    link = make_link(lambda: links.connect(login(platform.broker_url)))

    link.start()

    found = [platform.receive(lambda found: True) for _ in range(3)]
    assert {each.report.assignment for each in found} == {"0", "1", "2"}
    assert [each.together for each in found] == [3, 3, 3]


def test_reports_that_wait_share_a_message_and_each_has_its_receipt(platform, make_link, outbox):
    platform.node_keys[NODE_ID] = signatures.public_text(KEY)
    link = make_link(lambda: links.connect(login(platform.broker_url)))
    for number in range(links.limits.BATCH_MAX + 2):
        link.send_report(make_report(str(number)))

    link.start()

    found = [platform.receive(lambda found: True) for _ in range(links.limits.BATCH_MAX + 2)]
    assert [each.report.assignment for each in found] == [str(n) for n in range(len(found))]
    assert [each.together for each in found] == [50] * 50 + [2] * 2
    link.forget([receipt_of(make_report("7"))])
    assert len(outbox.pending()) == len(found) - 1


def test_acks_go_first_and_of_heartbeats_only_the_newest(platform, make_link):
    link = make_link(lambda: links.connect(login(platform.broker_url)))
    link.send_heartbeat(make_heartbeat(1))
    link.send_report(make_report())
    link.send_heartbeat(make_heartbeat(2))
    link.send_ack(
        messages.AckMessage(sent_at=NOW, node=NODE_ID, job="j", slots=1, cached_models=[])
    )

    link.start()

    found = [platform.receive(lambda found: True) for _ in range(3)]
    assert [each.kind for each in found] == ["ack", "report", "heartbeat"]
    assert found[2].heartbeat == make_heartbeat(2)


def test_what_waits_is_bounded_and_reports_stay_on_disk(make_link, monkeypatch, outbox, platform):
    monkeypatch.setattr(links, "LETTERS_MAX", 2)
    link = make_link(lambda: links.connect(login(platform.broker_url)))
    for number in range(4):
        link.send_report(make_report(str(number)))

    link.start()

    sent = {platform.receive(lambda found: True).report.assignment for _ in range(4)}
    assert sent == {"0", "1", "2", "3"}


def test_on_a_full_disk_a_report_is_published_all_the_same(
    platform, make_link, outbox, monkeypatch
):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    link = make_link(lambda: links.connect(login(platform.broker_url)))
    link.start()
    monkeypatch.setattr("os.fsync", fail)

    link.send_report(make_report())

    assert platform.receive(lambda found: True).report == make_report()
    assert outbox.pending() == []


def test_a_report_that_no_disk_takes_waits_in_memory_for_a_broker_that_is_away(
    platform, make_link, outbox, monkeypatch
):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    refusals = iter(range(5))

    def connect() -> Connection:
        if next(refusals, None) is not None:
            raise ConnectionRefusedError("away")
        return links.connect(login(platform.broker_url))

    link = make_link(connect)
    monkeypatch.setattr("os.fsync", fail)

    link.send_report(make_report())
    link.start()

    assert platform.receive(lambda found: True).report == make_report()
    assert (next(refusals, None), outbox.pending()) == (None, [])


def test_an_hour_without_broker_costs_nothing_but_the_hour(
    platform, make_link, outbox, monkeypatch
):
    """A second of a node's hour lasts a millisecond: pauses and intervals are a thousandth."""
    hour_seconds, reports = 3.6, 300
    monkeypatch.setattr(links, "BACKOFF_SECONDS", (0.0002, 0.001, 0.003))
    monkeypatch.setattr(links, "RESEND_SECONDS", 0.03)
    monkeypatch.setattr(links, "BROKER_HEARTBEAT_SECONDS", 0.03)
    back_at = time.monotonic() + hour_seconds
    tried: list[float] = []
    waiting: list[int] = []

    def connect() -> Connection:
        if time.monotonic() < back_at:
            tried.append(time.monotonic())
            waiting.append(len(link._letters))
            raise ConnectionRefusedError("away")
        return links.connect(login(platform.broker_url))

    link = make_link(connect)
    link.start()
    for number in range(reports):  # a finished chunk every twelve seconds
        link.send_report(make_report(str(number + 1)))
        link.send_heartbeat(make_heartbeat(number % 60))
        threading.Event().wait(hour_seconds / reports)

    received = []
    while len(received) < reports:
        found = platform.receive(lambda found: True)
        if found.kind == "report":
            received.append(found.report.assignment)
    assert sorted(received, key=int) == [str(number + 1) for number in range(reports)]
    assert link.flush(10)
    assert len(outbox.pending()) == reports
    # Of the reports at most one copy each waits, of the heartbeats only the newest.
    assert max(waiting) <= reports + 1
    # Four attempts take 4.2 s of the node's time: fewer than one a second.
    assert len(tried) <= 3600
    assert (link.trouble, link.contact_at) == ("", NOW)


def test_refusals_of_rabbitmq_must_reach_the_publisher():
    options = links.transport_options(login("amqp://b"))

    assert options["confirm_publish"] is True


def _is_true(condition: Callable[[], bool]) -> bool:
    pause = threading.Event()
    for _ in range(200):
        if condition():
            return True
        pause.wait(0.05)
    return False
