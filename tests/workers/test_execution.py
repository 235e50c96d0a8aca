"""Assignments become reports, with a real session and real downloads."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.workers import models
from tests.workers.platform_double import (
    FileServer,
    Served,
    make_assignment,
    make_input,
    make_reference,
)
from tests.workers.protocol.modelcheck import builders, hostile
from workers import execution, sandbox, transfer
from workers.execution import Workshop
from workers.modelstore import ModelStore
from workers.protocol import messages
from workers.protocol.limits import MIB
from workers.sandbox import RoomLimits
from workers.sessions import Sessions

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MODEL = models.make_detector()


@pytest.fixture
def workshop(tmp_path) -> Iterator[Workshop]:
    with (
        transfer.make_client() as client,
        ThreadPoolExecutor(2) as downloads,
        contextlib.closing(Sessions()) as sessions,
    ):
        yield Workshop(
            store=ModelStore(tmp_path / "models", bytes_max=10**6),
            sessions=sessions,
            client=client,
            downloads=downloads,
        )


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", (0.0, 0.0))


def prepare(server: FileServer, pictures: list[bytes], **changes) -> messages.Assignment:
    """Serve the model and the pictures and return the assignment to compute them."""
    inputs = [
        make_input(data, server.serve(f"/{place}", Served(data)), position=place)
        for place, data in enumerate(pictures)
    ]
    model = make_reference(MODEL, server.serve("/model", Served(MODEL)))
    return make_assignment(**({"model": model, "inputs": inputs, "now": NOW} | changes))


def run(assignment, workshop, *, now=NOW, is_cancelled=lambda: False) -> messages.Report:
    return execution.execute(
        assignment, workshop=workshop, clock=lambda: now, is_cancelled=is_cancelled
    )


def test_every_picture_is_answered_in_its_own_pixels(server, workshop):
    sizes = [(200, 100), (64, 48), (30, 90), (8, 8), (333, 77)]
    assignment = prepare(server, [models.make_picture(size=size) for size in sizes])

    report = run(assignment, workshop)

    assert (report.status, report.reason) == ("done", "")
    assert (report.assignment, report.nonce) == (assignment.assignment, assignment.nonce)
    assert report.model_digest == assignment.model.digest
    assert [(each.width, each.height) for each in report.answers] == sizes
    assert [each.position for each in report.answers] == [0, 1, 2, 3, 4]
    assert report.answers[1].detections[0] == (1, 0.9, 12.8, 4.8, 25.6, 19.2)


def test_a_second_assignment_fetches_only_its_pictures(server, workshop):
    run(prepare(server, [models.make_picture()]), workshop)
    server.requested.clear()

    run(prepare(server, [models.make_picture()]), workshop)

    assert server.requested == ["/0"]


def test_the_floor_and_the_registered_classes_hold(server, workshop):
    picture = models.make_picture(brightness=51)
    model = make_reference(MODEL, server.serve("/model", Served(MODEL)), class_ids=[17, 47])

    report = run(prepare(server, [picture], model=model, score_floor=0.3), workshop)

    assert [each[:2] for each in report.answers[0].detections] == [(17, 0.6)]


def test_equal_input_gives_equal_answers(server, workshop):
    assignment = prepare(server, [models.make_picture(kind="JPEG", brightness=77)])

    assert run(assignment, workshop).answers == run(assignment, workshop).answers


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no model", "model_unusable"),
        (models.make_detector(scores=(0.9, 7.0)), "model_unusable"),
        (models.make_detector(scores=(0.9, float("nan"))), "model_unusable"),
        (b"x" * (10**6 + 1), "disk_full"),
    ],
)
def test_a_bad_model_is_reported(server, workshop, content, reason):
    model = make_reference(content, server.serve("/bad", Served(content)))

    report = run(prepare(server, [models.make_picture()], model=model), workshop)

    assert (report.status, report.reason, report.answers) == ("failed", reason, [])


def test_a_model_that_hangs_is_reported_and_given_up_after_three_times(server, workshop):
    slow = models.make_slow()
    model = make_reference(slow, server.serve("/slow", Served(slow)), contract=builders.SSD_ALONE)
    limits = RoomLimits(run_seconds=0.1, priority="normal")

    with contextlib.closing(Sessions(room_limits=limits)) as sessions:
        hasty = dataclasses.replace(workshop, sessions=sessions)
        reports = [
            run(prepare(server, [models.make_picture()], model=model), hasty) for _ in range(4)
        ]

    assert [each.status for each in reports] == ["failed"] * 4
    assert [each.reason for each in reports] == [
        "model_hung",
        "model_hung",
        "model_unusable",
        "model_unusable",
    ]


def test_a_model_that_wants_more_memory_than_its_room_has_is_reported(server, workshop):
    large = models.make_large()
    model = make_reference(
        large, server.serve("/large", Served(large)), contract=builders.SSD_ALONE
    )
    limits = RoomLimits(memory_bytes=900 * MIB, priority="normal")

    with contextlib.closing(Sessions(room_limits=limits)) as sessions:
        narrow = dataclasses.replace(workshop, sessions=sessions)
        report = run(prepare(server, [models.make_picture()], model=model), narrow)

    assert (report.status, report.reason, report.answers) == ("failed", "out_of_memory", [])


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (sandbox.RoomDied("died: SIGSEGV"), "model_died"),
        (sandbox.RoomHung("hung: run"), "model_hung"),
        (sandbox.RoomLied("lied: reply"), "model_lied"),
        (sandbox.NotLocked("x"), "room_not_locked"),
        (sandbox.RoomUnavailable("x"), "room_unavailable"),
    ],
)
def test_every_failure_of_a_room_has_a_reason_of_its_own(failure, reason):
    assert execution._reason(failure) == reason


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (Served(b"x" * len(models.make_picture())), "digest_mismatch"),
        (Served(models.make_picture() + b"x"), "size_mismatch"),
        (Served(status=404), "download_failed"),
        (Served(status=500), "download_failed"),
    ],
)
def test_a_bad_download_is_reported(server, workshop, served, reason):
    assignment = prepare(server, [models.make_picture()] * 3)
    server.serve("/1", served)

    report = run(assignment, workshop)

    assert (report.status, report.reason, report.answers) == ("failed", reason, [])


@pytest.mark.parametrize("poison", [b"x", models.make_picture()[:60], b"GIF89a" + bytes(50)])
def test_an_unreadable_picture_is_reported(server, workshop, poison):
    report = run(prepare(server, [models.make_picture(), poison]), workshop)

    assert (report.status, report.reason, report.answers) == ("failed", "unreadable_input", [])


def test_a_model_damaged_on_disk_is_fetched_again(server, workshop):
    assignment = prepare(server, [models.make_picture()])
    path = workshop.store.add(
        digest=assignment.model.digest,
        size_bytes=len(MODEL),
        url=assignment.model.url,
        client=workshop.client,
    )
    path.write_bytes(b"damaged")

    assert run(assignment, workshop).status == "done"
    assert path.read_bytes() == MODEL


def test_an_expired_assignment_is_not_begun(server, workshop):
    assignment = prepare(server, [models.make_picture()])

    report = run(assignment, workshop, now=NOW + timedelta(minutes=16))

    assert (report.status, report.reason) == ("failed", "expired")
    assert server.requested == []


def test_a_cancelled_assignment_stops_before_the_next_picture(server, workshop):
    answers = iter([False, True])

    with pytest.raises(execution.Cancelled):
        run(
            prepare(server, [models.make_picture()] * 4),
            workshop,
            is_cancelled=lambda: next(answers),
        )


def test_a_fault_of_ours_is_reported_and_logged(server, workshop, caplog):
    def break_down() -> bool:
        raise ZeroDivisionError

    report = run(prepare(server, [models.make_picture()]), workshop, is_cancelled=break_down)

    assert (report.status, report.reason) == ("failed", "internal_error")
    assert "ZeroDivisionError" in caplog.text


def test_a_classifier_answers_with_classes(server, workshop):
    content = builders.classifier()
    model = make_reference(
        content,
        server.serve("/classifier", Served(content)),
        kind="classify",
        contract=builders.CLASSIFIER,
        class_ids=[0, 1, 2],
    )

    report = run(prepare(server, [models.make_picture()] * 2, model=model), workshop)

    first, second = report.answers
    assert (report.status, first.detections, first.classes) == ("done", [], second.classes)
    assert sorted(number for number, _ in first.classes) == [0, 1, 2]
    assert sum(score for _, score in first.classes) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "contract", "class_ids"),
    [(builders.yolo(), builders.YOLO, [0, 1]), (builders.detr(), builders.DETR, [0, 1])],
    ids=["yolo", "detr"],
)
def test_a_clients_detector_answers_with_boxes_on_the_picture(
    server, workshop, content, contract, class_ids
):
    model = make_reference(
        content,
        server.serve("/own", Served(content)),
        origin="client",
        contract=contract,
        class_ids=class_ids,
    )

    report = run(prepare(server, [models.make_picture()], model=model, score_floor=0.05), workshop)

    assert (report.status, report.answers[0].classes) == ("done", [])
    for _, score, x, y, width, height in report.answers[0].detections:
        assert 0.05 <= score <= 1
        assert (x + width <= 200, y + height <= 100) == (True, True)


@pytest.mark.parametrize(
    "content", [hostile.constant_bomb(), models.make_endless(), models.make_bomb()]
)
def test_a_hostile_model_is_refused_before_it_is_opened(server, workshop, content):
    model = make_reference(
        content, server.serve("/bomb", Served(content)), contract=builders.SSD_ALONE
    )

    report = run(prepare(server, [models.make_picture()], model=model), workshop)

    assert (report.status, report.reason, report.answers) == ("failed", "model_unusable", [])


def test_a_contract_that_does_not_fit_is_refused(server, workshop):
    content = builders.classifier()
    model = make_reference(content, server.serve("/other", Served(content)))

    report = run(prepare(server, [models.make_picture()], model=model), workshop)

    assert (report.status, report.reason) == ("failed", "model_unusable")
