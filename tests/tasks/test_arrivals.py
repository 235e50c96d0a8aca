"""What nodes sent, as raw bytes: each broken rule drops the message and changes nothing."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks import arrivals, floods
from tasks.models import Ack, Job, Node, Replica, SignedReport
from tests import factories
from tests.tasks import work
from workers.protocol import limits, messages, routes, signatures

LATER = work.NOW + timedelta(seconds=5)


class Sender:
    """A node with its key, which signs whatever it is told to."""

    def __init__(self, **fields: Any) -> None:
        self.key = factories.make_key()
        owner = factories.make_user("operator", is_person=True)
        self.node = factories.make_node(owner, key=self.key, **fields)

    def arrival(self, kind: str, body: object, **changes: Any) -> arrivals.Arrival:
        """Return `body` (a message, JSON data or bytes) as the broker delivers it, signed."""
        raw = to_bytes(body)
        fields = {
            "routing_key": routes.ingress_key(kind, self.node.pk),
            "user_id": routes.broker_username(self.node.pk),
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "signature": signatures.sign(raw, key=self.key),
            "header_names": frozenset({"signature"}),
            "body": raw,
        }
        return arrivals.Arrival(**{**fields, **changes})


def to_bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, messages.Message):
        return body.model_dump_json().encode()
    return json.dumps(body).encode()


@pytest.fixture
def senders(db) -> list[Sender]:
    return [Sender(), Sender()]


@pytest.fixture
def job(client_user, senders) -> Job:
    return work.start(client_user, [sender.node for sender in senders])


@pytest.fixture
def sender(job, senders) -> Sender:
    return senders[0]


@pytest.fixture
def replica(job, sender) -> Replica:
    return job.replicas.get(node=sender.node)


@pytest.fixture
def report(replica) -> dict[str, Any]:
    """A good report as data, to be spoilt."""
    return work.report_of(replica).model_dump(mode="json")


def heartbeat_of(sender, sent_at=LATER, **changes) -> dict[str, Any]:
    fields = {"node": sender.node.pk, "sent_at": sent_at, "running": [], "slots": 2}
    return messages.Heartbeat(**{**fields, "cached_models": [], **changes}).model_dump(mode="json")


def assert_dropped(code, *arrived):
    before = work.everything()

    outcome = arrivals.take(arrived, now=LATER)

    assert (outcome.taken, outcome.assigned) == (0, 0)
    assert outcome.dropped == Counter({code: len(arrived)})
    assert work.everything() == before


def test_good_messages_of_all_kinds_are_taken_in_one_batch(client_user, senders, now):
    waiting = factories.make_job(client_user)
    Job.objects.update(announced_at=now)
    running = work.start(client_user, [sender.node for sender in senders])
    batch = []
    for sender in senders:
        mine = running.replicas.get(node=sender.node)
        ack = messages.AckMessage(
            sent_at=now, node=sender.node.pk, job=waiting.pk, slots=1, cached_models=[]
        )
        batch += [
            sender.arrival("report", work.report_of(mine)),
            sender.arrival("ack", ack),
            sender.arrival("heartbeat", heartbeat_of(sender, slots=1)),
        ]

    outcome = arrivals.take(batch, now=LATER)

    assert (outcome.taken, outcome.dropped, outcome.assigned) == (6, Counter(), 2)
    running.refresh_from_db()
    assert (running.state, running.items_provisional) == ("finished", 1)
    assert Ack.objects.filter(job=waiting).count() == 2
    kept = Replica.objects.filter(job=running).first()
    assert messages.Report.model_validate_json(kept.signed_report.body).assignment == str(kept.pk)
    assert work.unsound() == []


def test_the_stored_evidence_proves_who_signed_it(sender, replica, report):
    arrivals.take([sender.arrival("report", report)], now=LATER)

    replica.refresh_from_db()
    signatures.verify(
        replica.signed_report.body.encode(),
        replica.signed_report.signature,
        public_key=sender.node.public_key,
    )


def together(*reports) -> messages.Reports:
    return messages.Reports(sent_at=LATER, node=reports[0].node, reports=list(reports))


def test_a_message_of_several_reports_is_one_piece_of_evidence(client_user, senders):
    Node.objects.update(slots=2)
    jobs = [work.start(client_user, [sender.node for sender in senders]) for _ in range(2)]
    mine = [job.replicas.get(node=senders[0].node) for job in jobs]
    body = together(*[work.report_of(replica) for replica in mine])

    outcome = arrivals.take([senders[0].arrival("report", body)], now=LATER)

    assert (outcome.taken, outcome.dropped) == (1, Counter())
    kept = SignedReport.objects.get()
    assert list(kept.replicas.order_by("pk")) == mine
    assert {replica.state for replica in kept.replicas.all()} == {"reported"}
    signatures.verify(kept.body.encode(), kept.signature, public_key=senders[0].node.public_key)


def test_in_one_message_the_foreign_and_the_doubled_change_nothing(job, senders, sender, replica):
    theirs = job.replicas.get(node=senders[1].node)
    good = work.report_of(replica)
    body = together(
        work.report_of(theirs, node=sender.node.pk),
        good,
        work.report_of(replica, work.ELSEWHERE),
        work.report_of(replica, nonce="0" * 32),
        work.report_of(replica, assignment="999999"),
    )

    arrivals.take([sender.arrival("report", body)], now=LATER)

    assert list(job.replicas.order_by("pk").values_list("state", flat=True)) == [
        "reported",
        "leased",
    ]
    replica.refresh_from_db()
    assert replica.answer == [[[*work.FOUND]]]


def test_a_message_of_several_with_anothers_report_is_dropped_whole(job, senders, sender, report):
    theirs = work.report_of(job.replicas.get(node=senders[1].node)).model_dump(mode="json")
    fields = {"v": 1, "sent_at": LATER.isoformat(), "kind": "reports", "node": sender.node.pk}

    assert_dropped("invalid", sender.arrival("report", {**fields, "reports": [report, theirs]}))
    fields["node"] = senders[1].node.pk
    assert_dropped("node_mismatch", sender.arrival("report", {**fields, "reports": [theirs]}))


def test_a_bad_message_does_not_spoil_the_batch(sender, replica, report):
    good = sender.arrival("report", report)

    outcome = arrivals.take([replace(good, signature=None), good], now=LATER)

    assert (outcome.taken, outcome.dropped) == (1, Counter({"bad_signature": 1}))
    replica.refresh_from_db()
    assert replica.state == Replica.State.REPORTED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"content_type": None}, "content_type"),
        ({"content_type": "application/x-python-serialize"}, "content_type"),
        ({"content_type": "application/data", "content_encoding": "binary"}, "content_type"),
        ({"content_encoding": "binary"}, "content_type"),
        ({"content_encoding": ["utf-8"]}, "content_type"),
        ({"user_id": None}, "user_mismatch"),
        ({"user_id": ""}, "user_mismatch"),
        ({"user_id": {"name": "node"}}, "user_mismatch"),
        ({"header_names": frozenset({"signature", "compression"})}, "compressed"),
        ({"signature": None}, "bad_signature"),
        ({"signature": ""}, "bad_signature"),
        ({"signature": "A" * 88}, "bad_signature"),
        ({"signature": "é" * 88}, "bad_signature"),
        ({"signature": b"A" * 88}, "bad_signature"),
        ({"signature": ["A" * 88]}, "bad_signature"),
        ({"routing_key": ""}, "unknown_kind"),
        ({"routing_key": "gossip.node_0"}, "unknown_kind"),
        ({"routing_key": "report"}, "user_mismatch"),
    ],
)
def test_an_envelope_that_is_not_as_agreed_is_dropped(sender, report, changes, code):
    assert_dropped(code, sender.arrival("report", report, **changes))


def test_another_nodes_user_is_dropped(senders, sender, report):
    other = routes.broker_username(senders[1].node.pk)

    assert_dropped("user_mismatch", sender.arrival("report", report, user_id=other))


def test_another_nodes_routing_key_is_dropped(senders, sender, report):
    key = routes.ingress_key("report", senders[1].node.pk)

    assert_dropped("user_mismatch", sender.arrival("report", report, routing_key=key))


def test_another_nodes_signature_is_dropped(senders, sender, report):
    raw = to_bytes(report)
    signature = signatures.sign(raw, key=senders[1].key)

    assert_dropped("bad_signature", sender.arrival("report", raw, signature=signature))


def test_a_signature_over_other_bytes_is_dropped(sender, report):
    signature = signatures.sign(to_bytes(report) + b" ", key=sender.key)

    assert_dropped("bad_signature", sender.arrival("report", report, signature=signature))


def test_a_signature_for_another_purpose_is_dropped(sender, report):
    raw = to_bytes(report)
    plain = base64.b64encode(sender.key.sign(raw)).decode()

    assert_dropped("bad_signature", sender.arrival("report", raw, signature=plain))


def test_a_message_about_another_node_is_dropped(senders, sender, report):
    report["node"] = senders[1].node.pk

    assert_dropped("node_mismatch", sender.arrival("report", report))


def test_a_message_of_another_kind_than_its_key_is_dropped(sender, report):
    assert_dropped("invalid", sender.arrival("ack", report))
    assert_dropped("invalid", sender.arrival("report", heartbeat_of(sender)))


@pytest.mark.parametrize("state", [Node.State.SUSPENDED, Node.State.RETIRED])
def test_a_removed_node_is_not_heard(sender, state):
    Node.objects.filter(pk=sender.node.pk).update(state=state)

    assert_dropped("unknown_node", sender.arrival("heartbeat", heartbeat_of(sender)))


def test_a_paused_node_is_heard(sender, report):
    Node.objects.filter(pk=sender.node.pk).update(state=Node.State.PAUSED)

    assert arrivals.take([sender.arrival("report", report)], now=LATER).taken == 1


def test_a_node_that_never_was_is_not_heard(db):
    stranger = Sender()
    Node.objects.all().delete()

    assert_dropped("unknown_node", stranger.arrival("heartbeat", heartbeat_of(stranger)))


def test_a_gzipped_body_is_dropped(sender, report):
    squeezed = gzip.compress(to_bytes(report))

    assert_dropped("invalid", sender.arrival("report", squeezed))


@pytest.mark.parametrize(
    "embed",
    [
        {"chain": [{"task": "tasks.revoke_node", "kwargs": {"node_id": "node_0"}}]},
        {"callbacks": [{"task": "celery.backend_cleanup"}], "errbacks": None},
        {"eta": "2026-11-25T12:00:00Z"},
    ],
)
def test_a_celery_envelope_is_dropped(sender, report, embed):
    assert_dropped("invalid", sender.arrival("report", [[report], {}, embed]))
    assert_dropped("invalid", sender.arrival("report", {**report, **embed}))


@pytest.mark.parametrize("size_bytes", [129 * 1000 + 2073, 10 * limits.MIB])
def test_a_body_over_128_kib_is_dropped(sender, report, size_bytes):
    padded = to_bytes(report) + b" " * size_bytes

    assert_dropped("too_large", sender.arrival("report", padded[:size_bytes]))


def test_a_body_of_exactly_128_kib_is_read(sender, report):
    padded = to_bytes(report).ljust(limits.MESSAGE_BYTES_MAX)

    assert arrivals.take([sender.arrival("report", padded)], now=LATER).taken == 1


def test_a_million_boxes_are_dropped(sender, report):
    report["answers"][0]["detections"] = [[1, 0.9, 0, 0, 1, 1]] * 10**6

    assert_dropped("too_large", sender.arrival("report", report))


def test_a_hundred_and_one_boxes_are_dropped(sender, report):
    report["answers"][0]["detections"] = [[1, 0.9, 0.0, 0.0, 1.0, 1.0]] * 101

    assert_dropped("invalid", sender.arrival("report", report))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.9", "NaN"),
        ("0.9", "Infinity"),
        ("0.9", "-Infinity"),
        ("0.9", "1e400"),
        ("0.9", '"0.9"'),
        ("0.9", "1.01"),
        ("0.9", "-0.01"),
        ("0.9", "true"),
        ("10.0", "-0.5"),
        ("10.0", "65501"),
        ("120", '"120"'),
        ("120", "120.5"),
        ("120", "-1"),
        ("120", "9" * 400),
        ("120", "9" * 5000),
        ("120", "[" * 5000 + "]" * 5000),
        ("120", '{"a":' * 5000 + "1" + "}" * 5000),
        ('"v":1', '"v":2'),
        ('"v":1', '"v":"1"'),
        ('"v":1', '"v":1,"admin":true'),
        ('"kind":"report"', '"kind":"ack"'),
        ('"done"', '"perfect"'),
        ('"done"', '"\\ud800"'),
        ("2026", "26"),
        ("Z", ""),
        ("{", "[", ),
        ("}", ""),
    ],
)  # fmt: skip
def test_a_body_that_is_not_strictly_as_agreed_is_dropped(sender, replica, old, new):
    text = work.report_of(replica).model_dump_json()
    assert old in text

    assert_dropped("invalid", sender.arrival("report", text.replace(old, new, 1).encode()))


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff\xfe", b"null", b"[]", "{}".encode("utf-16")])
def test_what_is_no_message_at_all_is_dropped(sender, body):
    assert_dropped("invalid", sender.arrival("report", body))


def test_a_name_with_a_nul_is_dropped(sender):
    beat = heartbeat_of(sender)
    beat["software_version"] = "1\x00"

    assert_dropped("invalid", sender.arrival("heartbeat", beat))


def test_a_report_sent_again_is_taken_and_changes_nothing(sender, report):
    arrived = sender.arrival("report", report)
    arrivals.take([arrived], now=LATER)
    before = work.everything()

    outcome = arrivals.take([arrived], now=LATER)

    assert (outcome.taken, outcome.assigned) == (1, 0)
    assert work.everything() == before


def test_a_report_for_anothers_assignment_changes_nothing_but_the_sign_of_life(
    job, senders, sender
):
    theirs = job.replicas.get(node=senders[1].node)
    forged = work.report_of(theirs, node=sender.node.pk)
    before = work.everything()

    arrivals.take([sender.arrival("report", forged)], now=work.NOW)

    assert work.everything() == before


def test_a_replayed_heartbeat_changes_nothing(sender):
    arrived = sender.arrival("heartbeat", heartbeat_of(sender))
    arrivals.take([arrived], now=LATER)
    before = work.everything()

    arrivals.take([arrived], now=LATER + timedelta(seconds=30))

    assert work.everything() == before


@pytest.mark.parametrize(
    "sent_at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_a_heartbeat_from_the_ends_of_time_renews_nothing_and_is_shown(sender, sent_at):
    beat = heartbeat_of(sender)
    beat["sent_at"] = sent_at if isinstance(sent_at, str) else sent_at.isoformat()
    now_and_then = [sender.arrival("heartbeat", beat), sender.arrival("heartbeat", beat)]
    before = list(Replica.objects.order_by("pk").values())

    outcome = arrivals.take(now_and_then, now=LATER)

    assert (outcome.taken, outcome.assigned) == (2, 0)
    assert list(Replica.objects.order_by("pk").values()) == before
    sender.node.refresh_from_db()
    assert sender.node.reason == "clock_skew"
    assert abs(sender.node.clock_skew_ms) > limits.CLOCK_SKEW_SECONDS_MAX * 1000


def test_the_newest_of_two_heartbeats_wins_in_whatever_order_they_come(sender):
    older = sender.arrival("heartbeat", heartbeat_of(sender, slots=1))
    newer = heartbeat_of(sender, LATER + timedelta(seconds=1), slots=7)

    arrivals.take([sender.arrival("heartbeat", newer), older], now=LATER)

    assert Node.objects.get(pk=sender.node.pk).slots == 7


def test_an_empty_batch_is_fine(db):
    assert arrivals.take([], now=LATER) == arrivals.Outcome(taken=0, dropped=Counter(), assigned=0)


def test_dropped_content_never_reaches_a_log(sender, caplog):
    arrivals.take([sender.arrival("report", b'{"secret": "swordfish"}')], now=LATER)

    assert "swordfish" not in caplog.text
    assert "dropped 1 messages: invalid" in caplog.text


def test_each_report_is_answered_by_a_receipt_whatever_became_of_it(
    job, sender, django_capture_on_commit_callbacks
):
    replica = next(row for row in work.leased(job) if row.node == sender.node)
    good = work.report_of(replica, work.FOUND)
    strange = good.model_copy(update={"assignment": "77"})
    broken = good.model_copy(update={"node": "node_other"})
    found = [sender.arrival("report", each) for each in (good, good, strange, broken)]

    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        arrivals.take(found, now=LATER)

    (named,) = [each.keywords["reports"] for each in callbacks if "reports" in each.keywords]
    assert {node: [name.assignment for name in names] for node, names in named.items()} == {
        sender.node.pk: [str(replica.pk), str(replica.pk), "77"]
    }


def test_a_flooding_node_is_suspended_and_the_other_is_heard(db):
    flooding, other = Sender(), Sender()
    meter = floods.Meter(rate=1, burst=3)
    flood = [flooding.arrival("heartbeat", heartbeat_of(flooding)) for _ in range(10)]
    heard = other.arrival("heartbeat", heartbeat_of(other, slots=7))

    outcome = arrivals.take([*flood, heard], now=LATER, meter=meter)

    assert (outcome.taken, outcome.dropped) == (1, Counter({"flood": 7, "unknown_node": 3}))
    flooding.node.refresh_from_db()
    other.node.refresh_from_db()
    assert (flooding.node.state, flooding.node.state_reason) == ("suspended", "flooding")
    assert (other.node.state, other.node.slots) == ("active", 7)


def test_acks_with_more_behind_them_leave_giving_out_work_to_the_last(client_user, senders, now):
    waiting = factories.make_job(client_user)
    Job.objects.update(announced_at=now)
    first, last = [
        sender.arrival(
            "ack",
            messages.AckMessage(
                sent_at=now, node=sender.node.pk, job=waiting.pk, slots=1, cached_models=[]
            ),
        )
        for sender in senders
    ]

    early = arrivals.take([first], now=LATER, more_follow=True)

    assert (early.taken, early.assigned, Ack.objects.count()) == (1, 0, 1)
    late = arrivals.take([last], now=LATER)
    assert (late.taken, late.assigned, Ack.objects.count()) == (1, 2, 2)


def test_heartbeats_and_reports_are_decided_whatever_follows(sender, replica, report):
    batch = [sender.arrival("report", report), sender.arrival("heartbeat", heartbeat_of(sender))]

    outcome = arrivals.take(batch, now=LATER, more_follow=True)

    replica.refresh_from_db()
    assert (outcome.taken, replica.state) == (2, "reported")
