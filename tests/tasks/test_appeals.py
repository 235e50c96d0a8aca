"""An operator's word against a refusal: the referee first, then staff."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from payments import ledger
from payments import queries as money
from tasks import appeals, settlement
from tasks.models import Appeal, Chunk, Credibility, Replica, Strike
from tasks.verification import strikes, verdicts
from tests import factories
from tests.tasks import refusals, work

NOW = work.NOW
REWARD_MINOR = 50_000


@pytest.fixture
def nodes(operator):
    """Five nodes; the first is the operator's and will see something else."""
    return [factories.make_node(operator), *factories.make_fleet(4)]


@pytest.fixture
def refused(client_user, nodes):
    """The operator's work, which the referee refuted."""
    return refusals.refused(client_user, nodes[:3])


@pytest.fixture
def unheard(client_user, nodes):
    """The operator's work, refused by the others while the referee was no help."""
    replica = refusals.unheard(client_user, nodes)
    assert (replica.state, replica.reason) == ("rejected", "disagreed")
    return replica


def lodge(replica, *, now=NOW, text="I looked myself."):
    return appeals.lodge(replica_id=replica.pk, operator_id=replica.operator_id, text=text, now=now)


def without_referee(replica):
    """Forget that the referee was ever asked."""
    Chunk.objects.filter(pk=replica.chunk_id).update(
        referee_asked_at=None, referee_at=None, referee_error=""
    )


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def reward(replica):
    return money.rewards([str(replica.pk)]).get(str(replica.pk))


def test_after_the_referee_an_appeal_goes_to_staff(refused):
    appeal = lodge(refused)

    assert (appeal.state, appeal.text, appeal.operator_id) == (
        "staff",
        "I looked myself.",
        refused.operator_id,
    )


def test_before_the_referee_it_is_asked(unheard, monkeypatch, django_capture_on_commit_callbacks):
    without_referee(unheard)
    asked = []
    monkeypatch.setattr("tasks.outgoing.send_work", lambda **message: asked.append(message))

    with django_capture_on_commit_callbacks(execute=True):
        appeal = lodge(unheard)

    assert appeal.state == "referee"
    assert Chunk.objects.get(pk=unheard.chunk_id).referee_asked_at == NOW
    assert {"name": "tasks.referee", "arguments": {"chunk_id": unheard.chunk_id}} in asked


def test_a_second_appeal_is_refused(refused):
    lodge(refused)
    before = work.everything()

    with pytest.raises(appeals.AlreadyAppealed):
        lodge(refused)

    assert work.everything() == before


def test_accepted_work_cannot_be_appealed(refused):
    accepted = refused.job.replicas.filter(state="accepted").first()
    before = work.everything()

    with pytest.raises(appeals.NotRefused):
        lodge(accepted)

    assert work.everything() == before


@pytest.mark.parametrize(
    ("chunk_state", "days", "is_open"),
    [
        ("provisional", 31, True),
        ("final", 30, True),
        ("final", 31, False),
        ("failed", 31, False),
    ],
)
def test_a_result_that_may_change_can_be_appealed_others_for_thirty_days(
    refused, chunk_state, days, is_open
):
    Chunk.objects.filter(pk=refused.chunk_id).update(state=chunk_state)
    Replica.objects.filter(pk=refused.pk).update(reported_at=NOW)
    before = work.everything()

    if is_open:
        assert lodge(refused, now=NOW + timedelta(days=days)).state == "staff"
    else:
        with pytest.raises(appeals.TooLate):
            lodge(refused, now=NOW + timedelta(days=days))
        assert work.everything() == before


def test_only_so_many_appeals_of_one_operator_wait(refused, monkeypatch):
    monkeypatch.setattr(appeals, "OPEN_MAX", 0)

    with pytest.raises(appeals.TooManyAppeals):
        lodge(refused)

    assert Appeal.objects.count() == 0


def test_whom_the_referee_confirms_needs_no_staff(unheard, operator):
    without_referee(unheard)
    appeal = lodge(unheard)

    Chunk.objects.filter(pk=unheard.chunk_id).update(
        referee_at=NOW, referee_answer=[[list(work.ELSEWHERE)]]
    )
    assert appeals.follow(now=NOW) == 1

    appeal = fresh(appeal)
    assert (appeal.state, appeal.decided_at, appeal.decided_by) == ("upheld", NOW, None)
    assert fresh(unheard).state == "accepted"
    assert reward(unheard).reward_minor == REWARD_MINOR
    assert work.unsound() == []
    assert appeals.follow(now=NOW) == 0


@pytest.mark.parametrize(
    ("answer", "error"), [(refusals.RIGHT, ""), (None, "model_died")], ids=["against", "no help"]
)
def test_whom_the_referee_does_not_confirm_staff_decide(unheard, answer, error):
    without_referee(unheard)
    appeal = lodge(unheard)
    Chunk.objects.filter(pk=unheard.chunk_id).update(
        referee_at=NOW, referee_answer=answer, referee_error=error
    )

    appeals.follow(now=NOW)

    assert (fresh(appeal).state, fresh(appeal).decided_at) == ("staff", None)
    assert reward(unheard) is None


def test_a_referee_that_does_not_answer_is_asked_again(
    unheard, monkeypatch, django_capture_on_commit_callbacks
):
    without_referee(unheard)
    lodge(unheard)
    asked = []
    monkeypatch.setattr("tasks.outgoing.send_work", lambda **message: asked.append(message["name"]))

    for seconds in (60, 61, 62):
        with django_capture_on_commit_callbacks(execute=True):
            assert appeals.follow(now=NOW + timedelta(seconds=seconds)) == 0

    assert asked == ["tasks.referee"]


def test_an_upheld_appeal_pays_and_gives_back_what_the_node_was_believed(
    client_user, nodes, operator, staff
):
    model = factories.make_model()
    record = refusals.known(nodes[0], model.pk, checks=7)
    refused = refusals.refused(client_user, nodes[:3], model=model.pk)
    assert fresh(record).checks_tenths == 0
    appeal = lodge(refused)

    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="You saw it.", now=NOW)
    ledger.post_intents(limit=100, now=NOW)

    appeal = fresh(appeal)
    assert (appeal.state, appeal.decided_by, appeal.note) == ("upheld", staff, "You saw it.")
    assert (fresh(refused).state, fresh(refused).reason) == ("accepted", "appeal_upheld")
    assert money.wallet(operator.pk).pending_minor == REWARD_MINOR
    assert money.escrow("job", refused.job_id).held_minor == 0
    assert Strike.objects.get(replica=refused).overturned_at == NOW
    record = fresh(record)
    assert (record.checks_tenths, record.strikes, record.state) == (70, 0, "probation")
    assert work.unsound() == []


def test_answers_its_strike_threw_doubt_on_are_believed_and_paid_again(
    client_user, nodes, operator, staff
):
    model = factories.make_model()
    refusals.known(nodes[0], model.pk, checks=500)
    alone = work.start(client_user, nodes[:1], model=model.pk, target_error="1e-2")
    work.take(work.report_of(*work.leased(alone)))
    earlier = alone.replicas.get()
    assert (earlier.state, reward(earlier).state) == ("accepted", "pending")
    refused = refusals.refused(factories.make_user("client"), nodes, model=model.pk)
    assert fresh(earlier).doubted_at == NOW
    assert reward(earlier).state == "frozen"
    appeal = lodge(refused)

    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)
    strikes.look_again(now=NOW)

    assert fresh(earlier).doubted_at is None
    assert reward(earlier).state == "pending"
    assert alone.chunks.get().reason == ""
    assert work.unsound() == []


def test_a_denied_appeal_leaves_everything_else_as_it_was(refused, staff):
    appeal = lodge(refused)
    before = work.everything()

    appeals.deny(appeal_id=appeal.pk, staff_id=staff.pk, note="No bus there.", now=NOW)

    appeal = fresh(appeal)
    assert (appeal.state, appeal.note, appeal.decided_at) == ("denied", "No bus there.", NOW)
    after = work.everything()
    assert [name for name in after if after[name] != before[name]] == ["tasks.Appeal"]


@pytest.mark.parametrize("decide", [appeals.uphold, appeals.deny])
def test_a_decided_appeal_stays_decided(refused, staff, decide):
    appeal = lodge(refused)
    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)
    before = work.everything()

    with pytest.raises(appeals.Decided):
        decide(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)

    assert work.everything() == before


def test_a_failed_gold_picture_is_appealed_to_staff_and_paid_if_upheld(
    client_user, operator, staff
):
    job = work.start(client_user, [factories.make_node(operator)])
    replica = job.replicas.get()
    Replica.objects.filter(pk=replica.pk).update(
        state="rejected",
        reason="gold_failed",
        reported_at=NOW,
        answer=[[list(work.ELSEWHERE)]],
        gold=refusals.make_gold(job.model),
        gold_position=0,
        gold_answer=[],
        gold_outcome="failed",
    )
    Chunk.objects.filter(pk=replica.chunk_id).update(granted=0)
    with transaction.atomic():
        Strike.objects.create(
            replica=replica, node=replica.node, model=job.model, cause="gold", created_at=NOW
        )
    strikes.enforce(now=NOW)

    appeal = lodge(fresh(replica))
    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)
    ledger.post_intents(limit=100, now=NOW)

    assert fresh(replica).state == "accepted"
    assert money.wallet(operator.pk).pending_minor == REWARD_MINOR
    assert Credibility.objects.get(node=replica.node).strikes == 0
    assert work.unsound() == []


def test_work_voided_and_then_upheld_is_paid_once(client_user, nodes, operator, staff):
    replica = refusals.refused(client_user, nodes[:3])
    Replica.objects.filter(pk=replica.pk).update(reason="overturned")
    with transaction.atomic():
        settlement.reward(
            chunk=replica.chunk, replicas=[replica], planned=0, matures_at=NOW, now=NOW
        )
        settlement.void(replica_ids=[replica.pk], now=NOW)
    appeal = lodge(replica)

    appeals.uphold(appeal_id=appeal.pk, staff_id=staff.pk, note="", now=NOW)
    verdicts.advance(chunk_id=replica.chunk_id, now=NOW)
    ledger.post_intents(limit=100, now=NOW)

    assert money.wallet(operator.pk).pending_minor == REWARD_MINOR
    assert reward(replica).state == "pending"
    assert work.unsound() == []
