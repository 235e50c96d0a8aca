"""Queues that are full: what does not fit is refused aloud or sent again, and never lost."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
from amqp.exceptions import MessageNacked

from portal.demo import stack
from tasks import queues
from tests.hostile.broker_cases import publish
from tests.hostile.publishing import beat_of, publishing, soon
from workers.outbox import Outbox
from workers.protocol import messages, routes

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.timeout(300)]

#: A quorum queue counts in steps and takes a few more than its limit.
SHORT_LENGTH = 5
REFUSED_BY = 50
#: The node's own queue, filled as the platform's own messages would.
FILL = """
import secrets
from tasks import outgoing
from workers.protocol import messages
for number in range({count}):
    name = messages.ReportName(assignment=str(number + 1), nonce=secrets.token_hex(16))
    outgoing.send_receipts(reports={{{node_id!r}: [name]}})
print("null")
"""


def test_every_queue_has_its_bounds(broker, starved):
    puppet = starved.puppet(1)
    wanted = {queue.name: queue.queue_arguments for queue in queues.PLATFORM_QUEUES}
    own = queues.node_queue(puppet.node_id)

    found = {
        name: broker.api("GET", f"queues/nodefolk/{name}")["arguments"]
        for name in (*wanted, own.name)
    }

    assert found == {**wanted, own.name: own.queue_arguments}
    # The workers' own queues have none: nobody but the platform writes there.
    ours = {queue.name for queue in queues.WORKER_QUEUES}
    assert all("x-max-length" in found[name] for name in found if name not in ours)
    assert broker.api("GET", f"user-limits/{puppet.login['username']}") == [
        {
            "user": puppet.login["username"],
            "value": {"max-channels": 6, "max-connections": 3},
        }
    ]


def tasks_waiting(puppet) -> Counter[str]:
    """Take all that waits for the node; count it by its Celery task."""
    found: Counter[str] = Counter()
    with puppet.connect() as connection:
        channel: Any = connection.channel()
        while message := channel.basic_get(puppet.login["queue"], no_ack=True):
            found[message.headers["task"]] += 1
    return found


def test_an_assignment_that_a_full_queue_drops_is_sent_again(starved, note_measured):
    """The queue drops its oldest, refuses nobody, and costs no other node anything."""
    full, other = starved.puppet(1), starved.puppet(2)
    for puppet in (full, other):
        puppet.beat()
    job_id = starved.submit()
    full.ack(job_id)
    assert full.next(messages.Announcement).job == job_id
    leased = (
        "from tasks.models import Replica\n"
        f"found = Replica.objects.filter(job={job_id!r}, state='leased')\n"
        "print(json.dumps([str(pk) for pk in found.values_list('pk', flat=True)]))"
    )
    soon(lambda: starved.python(leased), "the assignment")
    (lost,) = starved.python(leased)
    starved.stack.stop("beat")  # no sweep sends it again meanwhile
    try:
        starved.python(FILL.format(count=queues.NODE_QUEUE_LENGTH_MAX, node_id=full.node_id))
        other_id = starved.submit()
        assert other.next(messages.Announcement).job in {job_id, other_id}
        waiting = tasks_waiting(full)
    finally:
        starved.stack.start("beat", stack.celery_argv("beat", "--pidfile", ""))

    assert routes.TASK_ASSIGN not in waiting
    assert waiting.total() <= queues.NODE_QUEUE_LENGTH_MAX
    assert starved.python(leased) == [lost]
    again = full.next(messages.Assignment, seconds=60)
    assert again.assignment == lost
    full.beat(lost)
    full.send("report", full.report(again))
    other.work(job_id)
    assert starved.finish(job_id).job["state"] == "finished"
    with starved.api() as api:
        api.post(f"jobs/{other_id}/cancel/").raise_for_status()
    starved.assert_sound()
    note_measured(f"full node queue: {waiting.total()} of 1000 waited, the dropped one came again")


def fill(puppet, kind: str) -> int:
    """Publish until the broker refuses; return how many it took."""
    key = routes.ingress_key(kind, puppet.node_id)
    body = beat_of(puppet).model_dump_json()
    with puppet.connect() as connection:
        channel: Any = connection.channel()
        for number in range(REFUSED_BY):
            try:
                publish(channel, "ingress", key, body, user_id=puppet.login["username"])
            except MessageNacked:
                return number
    raise AssertionError("never refused")


@pytest.fixture
def short_reports(broker):
    """Let `platform.reports` hold only a few messages."""
    policy = {
        "pattern": r"^platform\.reports$",
        "definition": {"max-length": SHORT_LENGTH},
        "apply-to": "queues",
    }
    broker.api("PUT", "policies/nodefolk/short", body=policy)
    yield
    broker.api("DELETE", "policies/nodefolk/short")


def test_a_report_that_a_full_ingress_refuses_waits_on_the_node(
    broker, starved, short_reports, tmp_path, note_measured
):
    filler, first, second = (starved.puppet(number) for number in (3, 4, 5))
    for puppet in (first, second):
        puppet.beat()
    job_id = starved.submit()
    first.ack(job_id)
    assignment = first.next(messages.Assignment)
    outbox = Outbox(tmp_path / "outbox")
    starved.stack.stop("ingest")
    try:
        taken = fill(filler, "report")
        with publishing(first, outbox) as link:
            link.send_report(first.report(assignment))
            soon(lambda: link.trouble.startswith("MessageNacked"), "the refusal")
            assert len(outbox.pending()) == 1
            starved.stack.start("ingest", [sys.executable, "manage.py", "ingest"])
            receipt = first.next(messages.Receipt, seconds=90)
    finally:
        if "ingest" not in starved.stack.processes:
            starved.stack.start("ingest", [sys.executable, "manage.py", "ingest"])

    assert [name.assignment for name in receipt.reports] == [assignment.assignment]
    assert SHORT_LENGTH <= taken <= REFUSED_BY
    second.work(job_id)
    assert starved.finish(job_id).job["state"] == "finished"
    starved.assert_sound()
    note_measured(f"full ingress queue: limit {SHORT_LENGTH}, refused after {taken} messages")
