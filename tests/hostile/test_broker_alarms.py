"""A broker that runs out of memory or disk, or that a consumer keeps waiting; on a RabbitMQ of
its own, for its alarms stop everybody.

Nothing is lost meanwhile: rows and outboxes hold what the broker does not take.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import httpx
import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from tests.hostile.publishing import SOON_SECONDS, beat_of, publishing, soon
from workers import config
from workers.config import BrokerLogin
from workers.outbox import Outbox
from workers.protocol import limits, messages

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

#: A request that publishes may take so long while the broker takes nothing.
REQUEST_SECONDS_MAX = 20
CONSUMER_TIMEOUT_MS = 3000


def readiness(starved) -> tuple[int, list[str]]:
    """Return status and what is said of the broker."""
    answer = httpx.get(f"{starved.stack.url}/api/v1/health/ready", timeout=20)
    errors = answer.json().get("errors", [])
    return answer.status_code, [each["detail"] for each in errors if each["field"] == "broker"]


def log(starved, name: str) -> str:
    return starved.stack.log_of(name).read_text(errors="replace")


@pytest.mark.parametrize("resource", ["memory", "disk space"])
def test_nothing_is_lost_while_the_broker_is_short_of(
    resource, broker, starved, tmp_path, note_measured
):
    """Who publishes is told why, results wait on the node, and everything arrives afterwards."""
    first, second = starved.puppet(1), starved.puppet(2)
    for puppet in (first, second):
        puppet.beat()
    job_id = starved.submit()
    first.ack(job_id)
    assignment = first.next(messages.Assignment)
    outbox = Outbox(tmp_path / "outbox")
    assert readiness(starved) == (200, [])
    with publishing(first, outbox) as link:
        link.send_heartbeat(beat_of(first))
        soon(lambda: link.contact_at, "the node to be connected")
        with broker.short_of(resource):
            said = [f"It is short of {resource} and takes no messages."]
            soon(lambda: readiness(starved) == (503, said), "the portal to say it")
            link.send_heartbeat(beat_of(first))
            soon(lambda: "short of memory or disk" in link.trouble, "the node to say why")
            link.send_report(first.report(assignment))

            began = time.monotonic()
            starved_id = starved.submit()
            seconds = time.monotonic() - began

            assert seconds < REQUEST_SECONDS_MAX
            soon(lambda: "BrokerBlocked" in log(starved, "portal"), "the portal's log to say why")
            assert len(outbox.pending()) == 1
            assert state_of(starved, assignment) == "leased"
        soon(lambda: readiness(starved) == (200, []), "the alarm to be over")
        recovered = soon(lambda: link.trouble == "", "the node to go on")
        receipt = first.next(messages.Receipt, seconds=SOON_SECONDS)
    assert [name.assignment for name in receipt.reports] == [assignment.assignment]
    second.work(job_id)
    assert starved.finish(job_id).job["state"] == "finished"
    for puppet in (first, second):
        puppet.work(starved_id)
    assert starved.finish(starved_id).job["state"] == "finished"
    assert state_of(starved, assignment) == "accepted"
    starved.assert_sound()
    note_measured(
        f"{resource} alarm: a job was taken after {seconds:.1f} s; the node went on"
        f" {recovered:.1f} s after its end"
    )


def state_of(starved, assignment: messages.Assignment) -> str:
    return starved.python(
        "from tasks.models import Replica\n"
        f"print(json.dumps(Replica.objects.get(pk={assignment.assignment}).state))"
    )


def test_the_limits_are_those_of_the_configuration(broker):
    assert {
        name: broker.effective(name)
        for name in ("max_message_size", "channel_max", "consumer_timeout")
    } == {
        "max_message_size": str(limits.MESSAGE_BYTES_MAX),
        "channel_max": "16",
        "consumer_timeout": "900000",
    }


def drain(connection: Connection, *, until: float) -> None:
    """Read what comes, until the broker ends it."""
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.5)


def cut_off(url: str, queue: str) -> float:
    """Take a message, never acknowledge it, and return after how long the broker had enough."""
    with Connection(url, connect_timeout=5) as connection:
        channel: Any = connection.channel()
        taken: list[Any] = []
        channel.basic_consume(queue, callback=taken.append)
        began = time.monotonic()
        with pytest.raises(PreconditionFailed, match="timed out"):
            drain(connection, until=began + SOON_SECONDS)
        assert len(taken) == 1
    return time.monotonic() - began


def test_an_ingest_that_hangs_is_cut_off_and_the_next_one_gets_its_messages(
    broker, starved, note_measured
):
    puppet = starved.puppet(3)
    starved.stack.stop("ingest")
    try:
        with broker.setting(consumer_timeout=CONSUMER_TIMEOUT_MS, channel_tick_interval=500):
            puppet.beat()
            seconds = cut_off(broker.variables["BROKER_INGEST_URL"], "platform.heartbeats")
        assert broker.effective("consumer_timeout") == "900000"
    finally:
        starved.stack.start("ingest", [sys.executable, "manage.py", "ingest"])

    heard = (
        "from tasks.models import Node\n"
        f"row = Node.objects.get(pk={puppet.node_id!r})\n"
        "print(json.dumps(row.heartbeat_sent_at is not None))"
    )
    soon(lambda: starved.python(heard), "the sign of life to be taken")
    note_measured(
        f"consumer timeout: set to {CONSUMER_TIMEOUT_MS / 1000:.0f} s, cut off after {seconds:.1f} s"
    )


def test_a_node_that_never_acknowledges_is_cut_off_and_what_it_held_waits_again(broker, starved):
    puppet = starved.puppet(3)
    puppet.beat()
    login = puppet.login
    with broker.setting(consumer_timeout=CONSUMER_TIMEOUT_MS, channel_tick_interval=500):
        job_id = starved.submit()
        url = config.broker_url(BrokerLogin(**login))
        cut_off(url, login["queue"])

    assert puppet.next(messages.Announcement).job == job_id
    with starved.api() as api:
        api.post(f"jobs/{job_id}/cancel/").raise_for_status()
