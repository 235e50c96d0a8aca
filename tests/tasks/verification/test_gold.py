"""Gold: who is shown what, that nobody can tell, and what a wrong answer leads to."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import IntegrityError, transaction

from tasks import blobs, leases, scheduling
from tasks.models import Blob, Chunk, Credibility, GoldItem, Item, Job, Replica, Strike
from tasks.reasons import ReplicaReason
from tasks.verification import gold
from tests import factories
from tests.tasks import work

SEEN = [list(work.FOUND)]


def stock(model, count: int, **fields) -> list[GoldItem]:
    """Make gold pictures of 64 x 48 pixels that show `work.FOUND`."""
    return [
        GoldItem.objects.create(
            model=model,
            blob=blobs.put(factories.picture(color=(9, number, 200)), media_type="image/png"),
            width=64,
            height=48,
            expected=SEEN,
            **fields,
        )
        for number in range(count)
    ]


def start(client, nodes, *, stocked: int = 1, **fields) -> Job:
    """Start a job whose model has gold."""
    model = fields.pop("catalog_model", None) or factories.make_model()
    stock(model, stocked)
    return work.start(client, nodes, model=model.pk, **{"target_error": "1e-2", **fields})


def report_of(replica: Replica, *found):
    """Answer an assignment as it was sent, gold included: `found` on each picture."""
    message = work.assignment_of(replica, now=work.NOW)
    answers = [
        work.messages.Answer(
            position=each.position, width=64, height=48, detections=[*(found or (work.FOUND,))]
        )
        for each in message.inputs
    ]
    return work.report_of(replica, answers=answers)


def shown(replica: Replica) -> list[str]:
    return [each.digest for each in work.assignment_of(replica, now=work.NOW).inputs]


@pytest.fixture
def fleet(db):
    return factories.make_fleet(2)


def test_all_who_have_a_chunk_are_sent_the_same_pictures_gold_among_them(client_user, fleet):
    job = start(client_user, fleet)

    first, second = work.leased(job)
    item = GoldItem.objects.get()
    own = [each.image.blob_id for each in job.chunks.get().items.all()]
    assert shown(first) == shown(second)
    assert sorted(shown(first)) == sorted([*own, item.blob_id])
    assert (first.gold_id, first.gold_position) == (second.gold_id, second.gold_position)
    assert item.uses == 2


def test_nothing_in_an_assignment_tells_gold_from_work(client_user, fleet, now):
    replica = work.leased(start(client_user, fleet, stocked=1))[0]

    message = work.assignment_of(replica, now=now)

    assert [each.position for each in message.inputs] == [0, 1]
    keys = [set(each.model_dump()) for each in message.inputs]
    links = [urlsplit(each.url) for each in message.inputs]
    params = [parse_qs(link.query) for link in links]
    assert keys[0] == keys[1]
    assert [link.path for link in links] == [f"/blobs/{each.digest}" for each in message.inputs]
    assert len(links[0].query) == len(links[1].query)
    assert params[0]["expires"] == params[1]["expires"]
    assert params[0]["audience"] == params[1]["audience"] == [replica.node_id]
    assert "gold" not in message.model_dump_json()


def test_no_picture_is_sent_in_two_chunks_or_was_ever_sent_before(client_user):
    """What two owners who compare all digests they were ever sent can see: nothing."""
    fleet = factories.make_fleet(4, slots=4)
    model = factories.make_model()
    first = start(client_user, fleet, catalog_model=model, stocked=3, images=3)
    second = start(factories.make_user(), fleet, catalog_model=model, stocked=0, images=3)

    chunks = Chunk.objects.filter(job__in=[first, second])
    sent: list[str] = []
    for chunk in chunks:
        (digests,) = {tuple(shown(replica)) for replica in chunk.replicas.all()}
        sent += digests
    golds = set(GoldItem.objects.filter(uses__gt=0).values_list("blob", flat=True))
    assert len(golds) == 3
    assert [sent.count(digest) for digest in golds] == [1, 1, 1]


def test_whoever_saw_the_source_is_not_chosen_for(client_user, fleet):
    model = factories.make_model()
    job = start(client_user, fleet, catalog_model=model, stocked=0)
    GoldItem.objects.all().delete()
    stock(model, 1, source=Item.objects.get(job=job))

    again = start(client_user, factories.Node.objects.none(), catalog_model=model, stocked=0)
    factories.announce(again, nodes=fleet)
    work.take(*(work.report_of(replica) for replica in work.leased(job)))
    scheduling.assign_ready(now=work.NOW)

    assert [replica.gold_id for replica in work.leased(again)] == [None, None]


def test_a_chunk_first_sent_without_gold_stays_without(client_user, fleet):
    job = start(client_user, fleet[:1], stocked=0)
    stock(job.model, 1)
    factories.announce(job, nodes=fleet[1:])

    scheduling.assign_ready(now=work.NOW)

    assert [replica.gold_id for replica in work.leased(job)] == [None, None]
    assert GoldItem.objects.get().uses == 0


def test_an_owner_who_lost_the_chunk_is_sent_the_very_same_pictures_again(client_user, fleet, now):
    job = start(client_user, fleet[:1])
    (before,) = work.leased(job)
    later = now + timedelta(minutes=2)
    leases.expire(now=later)
    fleet[0].last_seen_at = later
    fleet[0].save()

    scheduling.assign_ready(now=later)

    (after,) = work.leased(job)
    assert after.pk != before.pk
    assert shown(after) == shown(before)
    assert GoldItem.objects.get().uses == 2


def test_an_owner_answers_a_gold_picture_once(client_user, fleet):
    first = work.leased(start(client_user, fleet))[0]
    (other,) = work.leased(start(factories.make_user(), factories.make_fleet(1), stocked=0))

    with pytest.raises(IntegrityError, match=r"UNIQUE|gold_once_per_owner"), transaction.atomic():
        Replica.objects.filter(pk=other.pk).update(
            gold=first.gold, gold_position=0, operator=first.operator
        )


def test_passing_counts_and_is_no_strike(client_user, fleet):
    job = start(client_user, fleet)

    work.take(*(report_of(replica) for replica in work.leased(job)))

    job.refresh_from_db()
    states = list(job.replicas.values_list("state", "gold_outcome").order_by("pk"))
    assert states == [("accepted", "passed"), ("accepted", "passed")]
    assert (job.gold_checks, Strike.objects.count()) == (2, 0)
    assert work.unsound() == []


def test_the_gold_picture_is_no_part_of_the_answer(client_user, fleet):
    job = start(client_user, fleet)

    work.take(*(report_of(replica) for replica in work.leased(job)))

    first = job.replicas.order_by("pk")[0]
    assert (first.answer, first.gold_answer) == ([SEEN], SEEN)
    assert job.items.get().detections[0]["label"] == "person"


def test_failing_is_a_strike_and_the_answer_is_refused(client_user, fleet):
    job = start(client_user, fleet)
    liar, honest = work.leased(job)

    work.take(report_of(liar, work.ELSEWHERE), report_of(honest))

    liar.refresh_from_db()
    assert (liar.state, liar.gold_outcome) == ("rejected", "failed")
    assert liar.reason == ReplicaReason.GOLD_FAILED
    strike = Strike.objects.get()
    assert (strike.replica, strike.cause) == (liar, "gold")
    assert strike.enforced_at == work.NOW
    assert job.chunks.get().state == Chunk.State.OPEN
    assert work.unsound() == []


def test_being_nearly_right_is_refused_but_a_warning_only(client_user, fleet):
    job = start(client_user, fleet)
    imprecise, honest = work.leased(job)

    work.take(report_of(imprecise, work.NEARLY), report_of(honest))

    imprecise.refresh_from_db()
    assert (imprecise.state, imprecise.reason) == ("rejected", "gold_failed")
    strike = Strike.objects.get()
    assert (strike.replica, strike.cause, strike.is_counted) == (imprecise, "near", False)
    known = Credibility.objects.get(node=imprecise.node, model=job.model)
    assert (known.state, known.strikes) == ("probation", 0)
    assert work.unsound() == []


def test_a_report_that_leaves_the_gold_out_is_no_answer(client_user, fleet):
    job = start(client_user, fleet)
    replica = work.leased(job)[0]

    work.take(work.report_of(replica))

    replica.refresh_from_db()
    assert (replica.state, replica.reason) == ("rejected", "invalid_answer")
    assert Strike.objects.count() == 0


def test_a_model_bound_to_a_class_is_checked_within_it_alone(client_user):
    model = factories.make_model(is_class_pinned=True)
    stock(model, 1, numeric_class="ort/avx2")
    other = factories.make_fleet(2, numeric_class="ort/neon")
    same = factories.make_fleet(2, numeric_class="ort/avx2")
    first = work.start(client_user, other, model=model.pk, target_error="1e-2")
    second = work.start(client_user, same, model=model.pk, target_error="1e-2")

    assert [replica.gold_id for replica in work.leased(first)] == [None, None]
    assert [replica.gold.numeric_class for replica in work.leased(second)] == ["ort/avx2"] * 2


def test_gold_of_the_jobs_own_data_set_comes_first(client_user, fleet):
    model = factories.make_model()
    stock(model, 5)
    old = factories.make_job(client_user, model=model.pk)
    Job.objects.filter(pk=old.pk).update(state=Job.State.CANCELLED)
    own = GoldItem.objects.create(
        model=model,
        blob=blobs.put(factories.picture(color=(1, 1, 1)), media_type="image/png"),
        width=64,
        height=48,
        expected=SEEN,
        source=old.items.get(),
    )
    job = factories.make_job(client_user, model=model.pk)
    Job.objects.filter(pk=job.pk).update(dataset=old.dataset)
    factories.announce(job, nodes=fleet)

    scheduling.assign_ready(now=work.NOW)

    assert job.chunks.get().gold == own


@pytest.mark.django_db(transaction=True)
def test_two_schedulers_never_put_one_picture_into_two_chunks(side_by_side):
    client = factories.make_user()
    model = factories.make_model()
    stock(model, 1)
    jobs = [factories.make_job(client, model=model.pk) for _ in range(2)]
    for job in jobs:
        factories.announce(job, nodes=factories.make_fleet(2))

    side_by_side(
        *(lambda job=job: scheduling.assign_ready(now=work.NOW, job_ids=[job.pk]) for job in jobs)
    )

    assert Replica.objects.count() == 4
    assert Chunk.objects.exclude(gold=None).count() == 1
    assert work.unsound() == []


def test_nothing_is_made_without_accepted_results(client_user, fleet, now):
    start(client_user, fleet, stocked=0)

    assert gold.make(now=now) == 0
    assert (GoldItem.objects.count(), Blob.objects.filter(media_type="image/jpeg").count()) == (
        0,
        0,
    )
