"""The wire format: what is written is read again, and nothing else is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workers.protocol import limits, messages

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DIGEST = "ab" * 32

identifiers = st.from_regex(r"[a-z0-9_]{1,40}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
nonces = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))
scores = st.floats(0, 1)
pixels = st.floats(0, limits.IMAGE_SIDE_MAX)
detections = st.tuples(st.integers(0, 100_000), scores, pixels, pixels, pixels, pixels)
answers = st.builds(
    messages.Answer,
    position=st.integers(0, limits.CHUNK_ITEMS_MAX - 1),
    width=st.integers(1, limits.IMAGE_SIDE_MAX),
    height=st.integers(1, limits.IMAGE_SIDE_MAX),
    detections=st.lists(detections, max_size=5),
)
reports = st.builds(
    messages.Report,
    sent_at=times,
    node=identifiers,
    assignment=identifiers,
    nonce=nonces,
    model_digest=digests,
    status=st.sampled_from(["done", "failed", "handed_back"]),
    reason=st.from_regex(r"[a-z0-9_]{0,40}", fullmatch=True),
    answers=st.lists(answers, max_size=3),
    compute_ms=st.integers(0, 86_400_000),
    numeric_class=st.from_regex(r"[ -~]{0,120}", fullmatch=True),
)
heartbeats = st.builds(
    messages.Heartbeat,
    sent_at=times,
    node=identifiers,
    running=st.lists(identifiers, max_size=limits.RUNNING_MAX),
    slots=st.integers(0, limits.SLOTS_MAX),
    cached_models=st.lists(digests, max_size=3),
)


def make_report(**changes) -> dict:
    fields = {
        "v": 1,
        "sent_at": NOW.isoformat(),
        "kind": "report",
        "node": "n_1",
        "assignment": "7",
        "nonce": "0" * 32,
        "model_digest": DIGEST,
        "status": "done",
        "answers": [
            {"position": 0, "width": 100, "height": 50, "detections": [[1, 0.5, 1, 2, 3, 4]]}
        ],
    }
    return fields | changes


def make_detections(*numbers: object) -> dict:
    return make_report(
        answers=[{"position": 0, "width": 9, "height": 9, "detections": [list(numbers)]}]
    )


bundles = st.lists(reports, min_size=1, max_size=3).map(
    lambda several: messages.Reports(
        sent_at=NOW,
        node="n_1",
        reports=[report.model_copy(update={"node": "n_1"}) for report in several],
    )
)


@given(st.one_of(reports, heartbeats, bundles))
def test_what_is_written_is_read_again(message):
    text = message.model_dump_json()

    assert type(message).model_validate_json(text) == message


def test_a_plain_report_is_read_with_its_defaults():
    report = messages.Report.model_validate_json(json.dumps(make_report()))

    assert report.answers[0].detections == [(1, 0.5, 1.0, 2.0, 3.0, 4.0)]
    assert (report.sent_at, report.reason, report.compute_ms) == (NOW, "", 0)


@pytest.mark.parametrize(
    "content",
    [
        make_report(extra=1),
        make_report(v=2),
        make_report(v="1"),
        make_report(kind="ack"),
        make_report(sent_at="2026-11-25T12:00:00"),
        make_report(sent_at=1_700_000_000),
        make_report(node="N_1"),
        make_report(node=""),
        make_report(node="n" * 41),
        make_report(assignment=7),
        make_report(nonce="0" * 31),
        make_report(nonce="0" * 32 + "\n"),
        make_report(model_digest=DIGEST.upper()),
        make_report(model_digest=DIGEST + "\n"),
        make_report(status="ok"),
        make_report(reason="No model!"),
        make_report(compute_ms="12"),
        make_report(compute_ms=1.5),
        make_report(compute_ms=True),
        make_report(compute_ms=-1),
        make_report(numeric_class="x" * 121),
        make_report(numeric_class="\x00"),
        make_report(answers={}),
        make_report(answers=[None]),
        make_report(answers=make_report()["answers"] * 17),
        make_detections(1, 0.5, 1, 2, 3),
        make_detections(1, 0.5, 1, 2, 3, 4, 5),
        make_detections(1.5, 0.5, 1, 2, 3, 4),
        make_detections(-1, 0.5, 1, 2, 3, 4),
        make_detections(1, 1.1, 1, 2, 3, 4),
        make_detections(1, "0.5", 1, 2, 3, 4),
        make_detections(1, 0.5, -1, 2, 3, 4),
        make_detections(1, 0.5, 1, 2, 3, limits.IMAGE_SIDE_MAX + 1),
        make_detections(1, 0.5, True, 2, 3, 4),
        make_detections(1, 0.5, None, 2, 3, 4),
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(ValidationError):
        messages.Report.model_validate_json(json.dumps(content))


def make_bundle(*reports: dict, **changes) -> str:
    fields = {"v": 1, "sent_at": NOW.isoformat(), "kind": "reports", "node": "n_1"}
    return json.dumps({**fields, "reports": list(reports), **changes})


def test_one_report_or_several_are_read_by_their_kind():
    several = messages.read_reports(make_bundle(make_report(), make_report(assignment="8")))
    one = messages.read_reports(json.dumps(make_report()))

    assert isinstance(several, messages.Reports)
    assert [report.assignment for report in several.reports] == ["7", "8"]
    assert one == several.reports[0]


@pytest.mark.parametrize(
    "text",
    [
        make_bundle(),
        make_bundle(*[make_report()] * (limits.BATCH_MAX + 1)),
        make_bundle(make_report(), make_report(node="n_2")),
        make_bundle(make_report(), node="n_2"),
        make_bundle(make_report(extra=1)),
        make_bundle(make_report(), v=2),
        make_bundle(make_report(), kind="report"),
        make_bundle(make_report(), kind="assignments"),
        make_bundle(json.loads(make_bundle(make_report()))),
        make_bundle(make_report(kind="reports")),
        json.dumps([make_report()]),
    ],
)
def test_a_bundle_with_anything_foreign_in_it_is_refused_whole(text):
    with pytest.raises(ValidationError):
        messages.read_reports(text.encode())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", [1, 2, 5])
def test_numbers_that_are_none_are_refused(number, place):
    numbers = ["1", "0.5", "1", "2", "3", "4"]
    numbers[place] = number
    text = json.dumps(make_report()).replace("[1, 0.5, 1, 2, 3, 4]", f"[{', '.join(numbers)}]")
    assert number in text

    with pytest.raises(ValidationError):
        messages.Report.model_validate_json(text)


def test_more_than_a_hundred_detections_are_refused():
    many = [[1, 0.5, 1, 2, 3, 4]] * (limits.DETECTIONS_MAX + 1)
    content = make_report(answers=[{"position": 0, "width": 9, "height": 9, "detections": many}])

    with pytest.raises(ValidationError):
        messages.Report.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '"x"', "\x00"])
def test_rubbish_is_refused(text):
    with pytest.raises(ValidationError):
        messages.Report.model_validate_json(text)


def test_the_largest_report_fits_into_a_message():
    side = limits.IMAGE_SIDE_MAX
    widest = (100_000, 0.123456, 10_000.12, 10_000.12, 55_000.12, 55_000.12)
    report = messages.Report(
        sent_at=NOW.replace(microsecond=123_456),
        node="n" * 40,
        assignment="a" * 40,
        nonce="0" * 32,
        model_digest=DIGEST,
        status="done",
        answers=[
            messages.Answer(
                position=position,
                width=side,
                height=side,
                detections=[widest] * limits.DETECTIONS_MAX,
            )
            for position in range(limits.CHUNK_ITEMS_MAX)
        ],
        compute_ms=86_400_000,
        numeric_class="c" * 120,
    )

    assert len(report.model_dump_json().encode()) <= limits.MESSAGE_BYTES_MAX


def test_the_largest_assignment_fits_into_a_message():
    assignment = messages.Assignment(
        sent_at=NOW,
        assignment="1" * 18,
        node="n" * 40,
        job="j" * 40,
        nonce="0" * 32,
        model=messages.ModelReference(
            digest=DIGEST,
            size_bytes=limits.MODEL_BYTES_MAX,
            url="https://portal.example/" + "m" * 500,
            kind="detect",
            class_ids=list(range(1000)),
        ),
        score_floor=0.25,
        inputs=[
            messages.Input(
                position=position,
                digest=DIGEST,
                size_bytes=limits.IMAGE_BYTES_MAX,
                url="https://portal.example/" + "i" * 500,
            )
            for position in range(limits.CHUNK_ITEMS_MAX)
        ],
        expires_at=NOW,
    )

    assert len(assignment.model_dump_json().encode()) <= limits.MESSAGE_BYTES_MAX
