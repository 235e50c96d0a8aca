"""Reports that wait together share a message, within its limits, and spoil nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from workers import bundles
from workers.protocol import limits, messages

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NODE = "n_1"
DETECTION = (100_000, 0.123456, 10_000.12, 10_000.12, 55_000.12, 55_000.12)


def body(number: int, *, pictures: int = 0, node: str = NODE) -> bytes:
    """Return a stored report; each picture adds about 6 kB."""
    answers = [
        messages.Answer(position=place, width=9, height=9, detections=[DETECTION] * 100)
        for place in range(pictures)
    ]
    report = messages.Report(
        sent_at=NOW,
        node=node,
        assignment=str(number),
        nonce="0" * 32,
        model_digest="a" * 64,
        status="done",
        answers=answers,
    )
    return report.model_dump_json().encode()


def pack(bodies):
    return bundles.pack(bodies, node_id=NODE, now=NOW)


def test_one_report_stays_as_it_is():
    assert pack([body(1)]) == [bundles.Bundle(body(1), [0])]


def test_several_share_a_message_in_order():
    (bundle,) = pack([body(3), body(1), body(2)])

    together = messages.read_reports(bundle.body)
    assert isinstance(together, messages.Reports)
    assert [each.assignment for each in together.reports] == ["3", "1", "2"]
    assert (together.node, together.sent_at, bundle.members) == (NODE, NOW, [0, 1, 2])


def test_nothing_makes_no_message():
    assert pack([]) == []


def test_what_cannot_be_read_travels_alone():
    found = pack([body(1), b"{}", body(2), body(3, node="n_2")])

    assert [bundle.members for bundle in found] == [[0, 2], [1], [3]]
    assert found[1].body == b"{}"


def test_more_than_fifty_make_two_messages():
    found = pack([body(number) for number in range(limits.BATCH_MAX + 1)])

    assert [len(bundle.members) for bundle in found] == [limits.BATCH_MAX, 1]


@given(st.lists(st.integers(0, 16), max_size=60))
def test_every_report_travels_once_and_no_message_is_too_large(pictures):
    bodies = [body(number, pictures=count) for number, count in enumerate(pictures)]

    found = pack(bodies)

    assert sorted(index for bundle in found for index in bundle.members) == list(range(len(bodies)))
    assert all(len(bundle.body) <= limits.MESSAGE_BYTES_MAX for bundle in found)
