"""A job as its client steers it: quoted, bought, paused, resumed, cancelled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from payments import ledger
from payments import queries as money
from payments.models import Transfer
from tasks import errors, jobs, requests, scheduling
from tasks.models import Chunk, Image, Item, Job, Replica
from tests import factories
from tests.tasks import work
from workers.protocol import limits

PRICE_MINOR = 110_000  # one image, two nodes: 2 x (50,000 + 10 %)


@pytest.fixture
def fleet(db):
    return factories.make_fleet(2)


@pytest.fixture
def ask(client_user):
    """A request of the client for three images, which the client can pay."""
    factories.fund(client_user, 10**9)
    return requests.JobRequest(
        kind="detect",
        dataset_id=factories.make_dataset(client_user, images=3).pk,
        model_id=factories.make_model().pk,
        target_error="1e-3",
    )


def submit(owner, request, now):
    return jobs.submit(owner_id=owner.pk, request=request, now=now)


def test_a_submitted_job_holds_its_price_and_is_cut_into_chunks(client_user, ask, now):
    job = submit(client_user, ask, now)

    assert (job.state, job.items_total, job.replicas_planned, job.price_minor) == (
        "queued",
        3,
        3,
        495_000,
    )
    assert money.wallet(client_user.pk).available_minor == 10**9 - 495_000
    assert money.wallet(client_user.pk).held_minor == 495_000
    chunks = job.chunks.order_by("index").values_list("index", "items_count", "wanted", "granted")
    assert list(chunks) == [(0, 1, 1, 0), (1, 1, 1, 0), (2, 1, 1, 0)]
    assert work.unsound() == []


def test_each_image_becomes_one_item_in_the_order_of_the_data_set(client_user, ask, now):
    job = submit(client_user, ask, now)

    images = Image.objects.filter(dataset_id=ask.dataset_id).order_by("created_at", "pk")
    items = job.items.order_by("chunk__index", "position")
    assert [item.image_id for item in items] == [image.pk for image in images]
    assert {item.state for item in items} == {Item.State.WAITING}


def test_submitting_is_an_event_and_announces_after_commit(
    client_user, ask, now, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks() as callbacks:
        job = submit(client_user, ask, now)

    event = job.events.get()
    assert (event.code, event.detail) == ("submitted", {"images": 3, "price_minor": 495_000})
    assert [callback.keywords for callback in callbacks] == [{"job_id": job.pk}]


def test_many_images_for_few_nodes_share_chunks(client_user, fleet, now):
    job = factories.make_job(client_user, images=40)

    sizes = list(job.chunks.order_by("index").values_list("items_count", flat=True))
    assert sum(sizes) == 40
    assert 8 <= len(sizes) < 20
    assert max(sizes) <= 5 < limits.CHUNK_ITEMS_MAX


def test_a_quote_names_what_submitting_would_hold(client_user, fleet, ask, now):
    before = work.everything()

    quote = jobs.quote(owner_id=client_user.pk, request=ask, now=now)

    assert (quote.images, quote.chunks, quote.replicas_expected) == (3, 3, 9)
    assert quote.price_minor == 495_000 == sum(line.amount_minor for line in quote.lines)
    # 9 images computed at 0.1 s by two nodes, and half a second around it.
    assert (quote.eta_p50_seconds, quote.eta_p90_seconds) == (1, 2)
    assert work.everything() == before


@pytest.mark.parametrize(
    ("mode", "target_error", "replicas", "price_minor"),
    [("normal", "1e-2", 2, 330_000), ("normal", "1e-4", 4, 660_000), ("race", "1e-3", 3, 495_000)],
)
def test_the_price_follows_the_checks(
    client_user, ask, now, mode, target_error, replicas, price_minor
):
    job = submit(client_user, replace(ask, mode=mode, target_error=target_error), now)

    assert (job.replicas_planned, job.price_minor) == (replicas, price_minor)


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"kind": "paint"}, requests.KindNotOffered, "kind"),
        ({"target_error": "1e-9"}, requests.BadChoice, "target_error"),
        ({"mode": "sprint"}, requests.BadChoice, "mode"),
        ({"score_threshold": 0.01}, requests.BadChoice, "score_threshold"),
        ({"score_threshold": 1.01}, requests.BadChoice, "score_threshold"),
        ({"score_threshold": float("nan")}, requests.BadChoice, "score_threshold"),
        ({"dataset_id": "ds_0"}, requests.UnknownDataset, "dataset"),
        ({"model_id": "mdl_0"}, requests.UnknownModel, "model"),
        ({"max_price_minor": 329_999}, requests.MaxPriceTooSmall, "max_price"),
    ],
)
def test_what_cannot_be_bought_is_refused_and_leaves_nothing(
    client_user, ask, now, change, error, field
):
    before = work.everything()

    with pytest.raises(error) as refused:
        submit(client_user, replace(ask, **change), now)

    assert refused.value.field == field
    assert refused.value.status == 422
    assert work.everything() == before


def test_the_maximum_price_may_be_the_price(client_user, ask, now):
    assert submit(client_user, replace(ask, max_price_minor=495_000), now).price_minor == 495_000


def test_a_strangers_data_set_does_not_exist(client_user, stranger, ask, now):
    factories.fund(stranger)
    before = work.everything()

    with pytest.raises(requests.UnknownDataset):
        submit(stranger, ask, now)

    assert work.everything() == before


def test_an_empty_data_set_is_refused(client_user, ask, now):
    Image.objects.all().delete()
    before = work.everything()

    with pytest.raises(requests.EmptyDataset):
        submit(client_user, ask, now)

    assert work.everything() == before


def test_more_images_than_one_job_takes_are_refused(client_user, ask, now, monkeypatch):
    monkeypatch.setattr(requests, "IMAGES_MAX", 2)
    before = work.everything()

    with pytest.raises(requests.TooManyImages):
        submit(client_user, ask, now)

    assert work.everything() == before


def test_a_model_that_is_no_longer_offered_is_refused(client_user, ask, now):
    withdrawn = factories.make_model(is_offered=False)
    before = work.everything()

    with pytest.raises(requests.UnknownModel):
        submit(client_user, replace(ask, model_id=withdrawn.pk), now)

    assert work.everything() == before


@pytest.mark.parametrize("deposited_minor", [0, 329_999])
def test_without_the_money_nothing_is_bought(client_user, stranger, now, deposited_minor):
    if deposited_minor:
        factories.fund(stranger, deposited_minor)
    request = requests.JobRequest(
        kind="detect",
        dataset_id=factories.make_dataset(stranger, images=3).pk,
        model_id=factories.make_model().pk,
        target_error="1e-3",
    )
    before = work.everything()

    with pytest.raises(ledger.InsufficientFunds):
        submit(stranger, request, now)

    assert work.everything() == before


def test_a_paused_job_gives_out_no_work_until_it_is_resumed(client_user, fleet, now):
    job = factories.make_job(client_user)
    factories.announce(job, nodes=fleet)

    paused = jobs.pause(job_id=job.pk, now=now)

    assert (paused.state, paused.reason) == ("paused", "paused_by_client")
    assert scheduling.assign_ready(now=now) == []
    resumed = jobs.resume(job_id=job.pk, now=now)
    assert (resumed.state, resumed.reason) == ("queued", "")
    assert len(scheduling.assign_ready(now=now)) == 2
    codes = job.events.order_by("pk").values_list("code", flat=True)
    assert list(codes) == ["submitted", "paused", "resumed", "started"]


def test_a_paused_job_takes_the_answers_under_way_and_finishes(client_user, fleet, now):
    job = work.start(client_user, fleet)
    jobs.pause(job_id=job.pk, now=now)

    work.take(*map(work.report_of, work.leased(job)))

    job.refresh_from_db()
    assert (job.state, job.items_provisional) == ("finished", 1)
    assert work.unsound() == []


def test_resuming_a_job_that_had_started_lets_it_run(client_user, fleet, now):
    job = work.start(client_user, fleet)
    jobs.pause(job_id=job.pk, now=now)

    assert jobs.resume(job_id=job.pk, now=now).state == "running"


@pytest.mark.parametrize(
    ("prepare", "act"),
    [
        ([jobs.pause], jobs.pause),
        ([], jobs.resume),
        ([jobs.cancel], jobs.pause),
        ([jobs.cancel], jobs.resume),
        ([jobs.cancel], jobs.cancel),
    ],
    ids=["pause twice", "resume unpaused", "pause ended", "resume ended", "cancel twice"],
)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(client_user, now, prepare, act):
    job = factories.make_job(client_user)
    for step in prepare:
        step(job_id=job.pk, now=now)
    before = work.everything()

    with pytest.raises(errors.WrongState) as refused:
        act(job_id=job.pk, now=now)

    assert (refused.value.code, refused.value.status) == ("wrong_state", 409)
    assert work.everything() == before


def test_a_finished_job_cannot_be_cancelled(client_user, fleet, now):
    job = work.start(client_user, fleet)
    work.take(*map(work.report_of, work.leased(job)))
    before = work.everything()

    with pytest.raises(errors.WrongState):
        jobs.cancel(job_id=job.pk, now=now)

    assert work.everything() == before


def test_cancelling_before_any_work_returns_everything(client_user, now):
    job = factories.make_job(client_user)

    cancelled = jobs.cancel(job_id=job.pk, now=now)

    assert (cancelled.state, cancelled.finished_at) == ("cancelled", now)
    assert set(job.chunks.values_list("state", flat=True)) == {Chunk.State.CANCELLED}
    escrow = money.escrow("job", job.pk)
    assert (escrow.held_minor, escrow.spent_minor, escrow.returned_minor) == (0, 0, PRICE_MINOR)
    assert work.unsound() == []


def test_cancelling_pays_who_works_and_who_has_answered(client_user, fleet, now):
    job = work.start(client_user, fleet)
    answered, working = work.leased(job)
    work.take(work.report_of(answered))

    jobs.cancel(job_id=job.pk, now=now)

    states = dict(job.replicas.values_list("pk", "state"))
    assert states == {answered.pk: "cancelled", working.pk: "cancelled"}
    for replica in (answered, working):
        assert money.wallet(replica.operator_id).pending_minor == 50_000
    escrow = money.escrow("job", job.pk)
    assert (escrow.spent_minor, escrow.returned_minor) == (PRICE_MINOR, 0)
    assert work.unsound() == []


def test_cancelling_keeps_results_and_tells_the_nodes_at_work(
    client_user, fleet, now, django_capture_on_commit_callbacks
):
    job = work.start(client_user, fleet, images=2)
    first = [row for row in work.leased(job) if row.chunk.index == 0]
    work.take(*map(work.report_of, first))
    scheduling.assign_ready(now=now)
    running = {replica.pk for replica in work.leased(job)}

    with django_capture_on_commit_callbacks() as callbacks:
        jobs.cancel(job_id=job.pk, now=now)

    told = [callback.keywords["replica_ids"] for callback in callbacks]
    assert {pk for ids in told for pk in ids} == running
    assert len(running) == 2
    assert sorted(job.items.values_list("state", flat=True)) == ["provisional", "waiting"]
    assert Replica.objects.filter(state=Replica.State.ACCEPTED).count() == 2
    assert Transfer.objects.filter(kind="reward").count() == 4
    assert Job.objects.get(pk=job.pk).items_provisional == 1
    assert work.unsound() == []
