"""The referee: it really computes, within its budget, and its word is taken once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import blobs, referee
from tasks.models import Blob, Chunk, Job
from tasks.reasons import OTHER_CLASS
from tests import factories
from tests.tasks import work
from tests.workers import models
from tests.workers.protocol.modelcheck import builders
from workers.protocol import boxes

SECOND = timedelta(seconds=1)
NOW = work.NOW


def make_detector(**fields):
    """Make a catalog model of real bytes, which finds the same boxes on every picture."""
    blob = blobs.put(models.make_detector(), media_type="application/octet-stream")
    return factories.make_model(
        blob=blob,
        labels={"1": "person", "17": "cat", "47": "cup"},
        tensor_contract=builders.SSD.model_dump(mode="json"),
        **fields,
    )


def asked(client, *, model=None, images: int = 1, **fields) -> Chunk:
    """Return a chunk of a job about which the referee was asked."""
    job = factories.make_job(client, model=(model or make_detector()).pk, images=images)
    Chunk.objects.filter(job=job).update(referee_asked_at=NOW, **fields)
    return job.chunks.order_by("pk")[0]


def compute(data: bytes, *, size=(64, 48)) -> referee.Computed:
    picture = blobs.put(data, media_type="image/png")
    return referee.answer(model=make_detector(), pictures=[picture], sizes=[size], floor=0.3)


@pytest.mark.slow
def test_pictures_are_computed_by_the_nodes_own_code_in_a_process_apart(db):
    pictures = [
        blobs.put(factories.picture(color=color), media_type="image/png")
        for color in [(255, 255, 255), (0, 0, 0)]
    ]

    computed = referee.answer(
        model=make_detector(), pictures=pictures, sizes=[(64, 48)] * 2, floor=0.3
    )

    assert computed.numeric_class.startswith("ort-")
    # The last box's score is the picture's brightness; below the floor it is left out.
    white, black = computed.found
    assert [(found[0], round(found[1], 3)) for found in white] == [(47, 1.0), (1, 0.9), (17, 0.6)]
    assert [(found[0], round(found[1], 3)) for found in black] == [(1, 0.9), (17, 0.6)]
    # (top, left, bottom, right) as shares of 64 x 48 pixels.
    assert boxes.iou(tuple(black[0][2:]), (12.8, 4.8, 25.6, 19.2)) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "size", "code"),
    [
        (b"no picture", (64, 48), "unreadable_input"),
        (factories.picture(), (64, 47), "invalid_answer"),
    ],
)
def test_what_it_cannot_compute_it_says_in_the_words_of_nodes(db, data, size, code):
    with pytest.raises(referee.Failed) as failed:
        compute(data, size=size)

    assert str(failed.value) == code


@pytest.mark.slow
def test_a_model_that_takes_too_long_is_ended(db, monkeypatch):
    monkeypatch.setattr(referee, "SECONDS_MAX", 0.01)

    with pytest.raises(referee.Failed, match="model_hung"):
        compute(factories.picture())


@pytest.mark.slow
def test_its_answer_decides_and_is_given_once(client_user):
    chunk = asked(client_user)

    assert referee.run(chunk_id=chunk.pk, now=NOW)

    chunk.refresh_from_db()
    assert (chunk.state, chunk.referee_at, chunk.referee_error) == ("provisional", NOW, "")
    labels = [found["label"] for found in chunk.items.get().detections]
    assert labels == ["person", "cat"]
    assert Job.objects.get().referee_runs == 1
    before = work.everything()
    assert not referee.run(chunk_id=chunk.pk, now=NOW + SECOND)
    assert work.everything() == before
    assert work.unsound() == []


@pytest.mark.slow
def test_what_is_no_model_is_written_down_as_an_error(client_user):
    chunk = asked(client_user, model=factories.make_model())

    assert referee.run(chunk_id=chunk.pk, now=NOW)

    chunk.refresh_from_db()
    assert (chunk.referee_answer, chunk.referee_error) == (None, "model_unusable")
    assert chunk.referee_at == NOW


@pytest.mark.slow
def test_of_another_numeric_class_it_has_no_answer(client_user):
    chunk = asked(client_user, numeric_class="ort-1/neon")

    assert referee.run(chunk_id=chunk.pk, now=NOW)

    chunk.refresh_from_db()
    assert (chunk.referee_answer, chunk.referee_error) == (None, OTHER_CLASS)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_two_that_compute_side_by_side_the_first_is_believed(side_by_side):
    chunk = asked(factories.make_user())

    came = side_by_side(*[lambda: referee.run(chunk_id=chunk.pk, now=NOW)] * 2)

    assert sorted(came) == [False, True]
    assert Job.objects.get().referee_runs == 1
    assert work.unsound() == []


def test_a_chunk_nobody_asked_about_is_left_alone(client_user):
    job = factories.make_job(client_user, model=make_detector().pk)
    before = work.everything()

    assert not referee.run(chunk_id=job.chunks.get().pk, now=NOW)

    assert work.everything() == before


def test_beyond_its_budget_of_an_hour_it_computes_nothing(client_user, settings):
    settings.REFEREE_IMAGES_PER_HOUR = 4
    model = make_detector()
    spent = asked(client_user, model=model, images=4)
    Chunk.objects.filter(job=spent.job_id).update(referee_at=NOW - 3599 * SECOND)
    chunk = asked(client_user, model=model)
    before = work.everything()

    assert referee.spent(now=NOW) == 4
    assert not referee.run(chunk_id=chunk.pk, now=NOW)

    assert work.everything() == before
    assert referee.spent(now=NOW + 2 * SECOND) == 0


def test_gold_counts_against_the_budget(db):
    model = make_detector()
    for number in range(3):
        model.gold.create(
            blob=blobs.put(factories.picture(color=(number, 0, 0)), media_type="image/png"),
            width=64,
            height=48,
            expected=[],
            created_at=NOW,
        )

    assert referee.spent(now=NOW) == 3
    assert Blob.objects.filter(gold__isnull=False).count() == 3


def test_chunks_without_an_answer_are_queued_again_after_a_minute(
    client_user, django_capture_on_commit_callbacks
):
    chunk = asked(client_user)

    with django_capture_on_commit_callbacks() as early:
        assert referee.ask_again(now=NOW + 60 * SECOND) == 0
    with django_capture_on_commit_callbacks() as callbacks:
        assert referee.ask_again(now=NOW + 61 * SECOND) == 1

    assert early == []
    assert [call.keywords for call in callbacks] == [
        {"name": "tasks.referee", "arguments": {"chunk_id": chunk.pk}}
    ]


@pytest.mark.parametrize("fields", [{"referee_at": NOW}, {"state": "failed"}, {"state": "final"}])
def test_decided_chunks_are_not_queued_again(client_user, fields):
    asked(client_user, **fields)

    assert referee.ask_again(now=NOW + 61 * SECOND) == 0
