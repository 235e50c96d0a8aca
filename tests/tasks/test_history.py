"""Random histories of one job: whatever happens in whatever order, it ends and is paid right.

Messages come once, twice, late or never; nodes fail, vanish and lie; processes die between
storing and deciding; the client pauses and cancels, staff drain, doubt and verify. After each step the invariants hold;
in the end nothing is stuck.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from payments import ledger
from payments import queries as money
from tasks import errors, invariants, jobs, leases, nodes, reports, requests, scheduling, sweeps
from tasks.models import Chunk, Credibility, Job, Node, Replica, Strike
from tasks.operations import draining, quarantines, replays, reverification
from tasks.verification import acceptance, faults, strikes
from tests import factories
from tests.tasks import work
from workers.protocol import messages

#: Owners enough for all attempts, two removed nodes and some who only hand back.
MANY_NODES = 16
#: So few that owners get a chunk again which they lost.
FEW_NODES = 3
REMOVED_MAX = 2
ENDED = {Job.State.FINISHED, Job.State.FAILED, Job.State.CANCELLED}
#: Why a job of few nodes may wait for ever.
WAITING = {"owners_exhausted", "no_capable_nodes"}
#: The first two agree with each other, the others with nobody else.
SEEN = [(1, score, x, 5.0, 10.0, 10.0) for score, x in ((0.9, 5), (0.903, 5), (0.9, 20), (0.9, 40))]


class World:
    """Rows that every history begins with."""

    def __init__(self, *, nodes: int) -> None:
        self.owner = factories.make_user()
        factories.fund(self.owner)
        self.staff = factories.make_user("staff")
        self.nodes = factories.make_fleet(nodes)
        self.dataset = factories.make_dataset(self.owner, images=2)
        self.model = factories.make_model()


class History(RuleBasedStateMachine):
    """One job of two pictures from its submission to its end."""

    world: World

    @initialize(
        mode=st.sampled_from(["normal", "normal", "race"]),
        target_error=st.sampled_from(["1e-3", "1e-4"]),
    )
    def submit(self, mode, target_error):
        self.scratch = transaction.atomic()
        self.scratch._from_testcase = True  # services that want to be outermost may run inside
        self.scratch.__enter__()
        self.now = work.NOW
        self.removed = 0
        self.sent: list[messages.Report] = []
        request = requests.JobRequest(
            kind="detect",
            dataset_id=self.world.dataset.pk,
            model_id=self.world.model.pk,
            target_error=target_error,
            mode=mode,
        )
        self.job = jobs.submit(owner_id=self.world.owner.pk, request=request, now=self.now)
        factories.announce(self.job, nodes=self.world.nodes)

    def state(self) -> str:
        return Job.objects.values_list("state", flat=True).get(pk=self.job.pk)

    def replica(self, pick: int, states=Replica.State) -> Replica | None:
        found = list(self.job.replicas.filter(state__in=list(states)).order_by("pk"))
        return found[pick % len(found)] if found else None

    def send(self, report: messages.Report, *, decide=True) -> None:
        self.sent.append(report)
        if decide:
            work.take(report, now=self.now)
            return
        signed = reports.SignedReport(report=report, body="{}", signature="s" * 88)
        with transaction.atomic():
            reports.accept([signed], now=self.now)

    @rule()
    def schedule(self):
        scheduling.assign_ready(now=self.now)

    @rule(pick=st.integers(0, 99), seen=st.sampled_from(SEEN), decide=st.booleans())
    def answer(self, pick, seen, decide):
        if replica := self.replica(pick, [Replica.State.LEASED]):
            self.send(work.report_of(replica, seen), decide=decide)

    @rule(pick=st.integers(0, 99), seen=st.sampled_from(SEEN))
    def answer_for_anything_ever_assigned(self, pick, seen):
        if replica := self.replica(pick):
            self.send(work.report_of(replica, seen))

    @rule(
        pick=st.integers(0, 99),
        spoilt=st.sampled_from(
            [
                {"status": "failed", "answers": []},
                {"status": "handed_back", "answers": []},
                {"answers": []},
                {"nonce": "0" * 32},
            ]
        ),
    )
    def answer_badly(self, pick, spoilt):
        if replica := self.replica(pick, [Replica.State.LEASED, Replica.State.LOST]):
            self.send(work.report_of(replica, **spoilt))

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(0, 99))
    def replay(self, pick):
        self.send(self.sent[pick % len(self.sent)])

    @rule(pick=st.integers(0, 99))
    def be_alive(self, pick):
        if replica := self.replica(pick, [Replica.State.LEASED]):
            beat = messages.Heartbeat(
                node=replica.node_id,
                sent_at=self.now,
                running=[str(replica.pk)],
                slots=1,
                cached_models=[],
            )
            with transaction.atomic():
                leases.renew([beat], now=self.now)

    @rule(seconds=st.sampled_from([1, 20, 46]))
    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)
        Node.objects.exclude(state=Node.State.RETIRED).update(last_seen_at=self.now)

    @rule()
    def sweep(self):
        sweeps.sweep(now=self.now)

    @rule(honest=st.booleans())
    def let_the_referee_speak(self, honest):
        """Answer what is asked of the referee: as the first two nodes see it, or not at all."""
        asked = Chunk.objects.filter(
            job=self.job,
            referee_asked_at__isnull=False,
            referee_at=None,
            state__in=[Chunk.State.OPEN, Chunk.State.PROVISIONAL],
        )
        for chunk in asked.order_by("pk"):
            if honest:
                work.referee_says(chunk, SEEN[0], now=self.now)
            else:
                work.referee_says(chunk, error="model_died", now=self.now)

    @rule(pick=st.integers(0, 99))
    def catch_a_node(self, pick):
        """Strike a node for an answer, as a failed gold picture elsewhere would."""
        if replica := self.replica(pick, [Replica.State.ACCEPTED, Replica.State.REPORTED]):
            faults.record(
                replicas=[replica],
                model_id=self.world.model.pk,
                cause=Strike.Cause.GOLD,
                now=self.now,
            )
            strikes.enforce(now=self.now)

    @rule(pick=st.integers(0, 99), for_all=st.booleans())
    def quarantine_or_lift(self, pick, for_all):
        node = Node.objects.get(pk=self.world.nodes[pick % len(self.world.nodes)].pk)
        model_id = None if for_all else self.world.model.pk
        named = {"node_id": node.pk, "model_id": model_id, "staff_id": self.world.staff.pk}
        try:
            quarantines.impose(**named, note="", now=self.now)
        except errors.WrongState:
            if node.state != Node.State.RETIRED:
                quarantines.lift(**named, now=self.now)

    @rule(pick=st.integers(0, 99))
    def drain_or_undrain(self, pick):
        node = Node.objects.get(pk=self.world.nodes[pick % len(self.world.nodes)].pk)
        named = {"node_id": node.pk, "staff_id": self.world.staff.pk, "now": self.now}
        if node.drained_at is not None:
            draining.undrain(**named)
        elif node.state == Node.State.ACTIVE:
            draining.drain(**named, note="")

    @rule(by=st.sampled_from(["owner", "referee"]))
    def verify_again(self, by):
        with contextlib.suppress(reverification.NothingToVerify):
            reverification.reverify(
                job_id=self.job.pk,
                chunk_index=None,
                by=by,
                staff_id=self.world.staff.pk,
                note="",
                now=self.now,
            )

    @rule()
    def send_everything_again(self):
        replays.replay_job(job_id=self.job.pk, staff_id=self.world.staff.pk, now=self.now)

    @rule()
    def post(self):
        ledger.post_intents(limit=100, now=self.now)

    @precondition(lambda self: self.removed < REMOVED_MAX)
    @rule(pick=st.integers(0, 99))
    def remove_a_node(self, pick):
        node_id = self.world.nodes[pick % len(self.world.nodes)].pk
        if Node.objects.filter(pk=node_id, state=Node.State.ACTIVE).exists():
            nodes.retire(node_id=node_id, now=self.now)
            self.removed += 1

    @rule()
    def pause_or_resume(self):
        state = self.state()
        if state == Job.State.PAUSED:
            jobs.resume(job_id=self.job.pk, now=self.now)
        elif state not in ENDED:
            jobs.pause(job_id=self.job.pk, now=self.now)

    @precondition(lambda self: self.now > work.NOW + timedelta(seconds=60))
    @rule()
    def cancel(self):
        if self.state() not in ENDED:
            jobs.cancel(job_id=self.job.pk, now=self.now)

    @invariant()
    def the_work_is_sound(self):
        if hasattr(self, "job"):
            assert [found.name for found in invariants.audit(now=self.now) if not found.holds] == []

    def teardown(self):
        if not hasattr(self, "scratch"):
            return
        try:
            self.come_to_an_end()
            self.check_the_end()
        finally:
            transaction.set_rollback(True)
            self.scratch.__exit__(None, None, None)

    def is_over(self) -> bool:
        """Say whether the job has ended and nothing of it is in question."""
        questioned = self.job.chunks.filter(state=Chunk.State.PROVISIONAL).exclude(reason="")
        return self.state() in ENDED and not questioned.exists()

    def come_to_an_end(self):
        """Let everything that may still happen happen: nodes answer, sweeps run."""
        self.let_staff_go_home()
        if self.state() == Job.State.PAUSED:
            jobs.resume(job_id=self.job.pk, now=self.now)
        for _ in range(2 * acceptance.ATTEMPTS_MAX):
            if self.is_over():
                return
            self.wait(3)
            self.sweep()
            while replica := self.replica(0, [Replica.State.LEASED]):
                self.answer(0, SEEN[replica.pk % 2], True)
            self.let_the_referee_speak(honest=True)
        if self.state() in ENDED:
            self.let_the_window_end()
        elif len(self.world.nodes) == FEW_NODES:
            assert not self.replica(0, [Replica.State.LEASED])
            assert Job.objects.get(pk=self.job.pk).reason in WAITING
            jobs.cancel(job_id=self.job.pk, now=self.now)
        assert self.state() in ENDED, "the job is stuck"

    def let_staff_go_home(self):
        """End what staff began: drains, and quarantines of nodes that are still there."""
        Node.objects.update(drained_at=None)
        staff = {"staff_id": self.world.staff.pk, "now": self.now}
        for node in Node.objects.filter(quarantined_at__isnull=False):
            quarantines.lift(node_id=node.pk, model_id=None, **staff)
        for record in Credibility.objects.filter(quarantined_at__isnull=False):
            quarantines.lift(node_id=record.node_id, model_id=record.model_id, **staff)

    def let_the_window_end(self):
        """Nobody is left to compute again what is in question: in the end the referee does."""
        self.now += timedelta(days=8)
        self.sweep()
        self.let_the_referee_speak(honest=True)
        self.sweep()
        assert self.is_over(), "a result stays in question"

    def check_the_end(self):
        ledger.post_intents(limit=1000, now=self.now)
        ledger.mature(limit=1000, now=self.now)
        assert work.unsound(self.now) == []
        assert not self.job.replicas.filter(state__in=["leased", "reported"]).exists()
        assert not self.job.chunks.filter(state=Chunk.State.OPEN).exists()
        self.check_money()
        self.check_results()

    def check_money(self):
        earned = money.rewards([str(replica.pk) for replica in self.job.replicas.all()])
        paid = self.job.replicas.filter(state__in=["accepted", "cancelled"])
        standing = {int(pk) for pk, reward in earned.items() if reward.state != "voided"}
        assert standing == {replica.pk for replica in paid}
        each = Counter(paid.filter(state="accepted").values_list("chunk", "operator"))
        assert all(count == 1 for count in each.values())
        escrow = money.escrow("job", self.job.pk)
        assert (escrow.held_minor, escrow.spent_minor + escrow.returned_minor) == (
            0,
            self.job.price_minor,
        )

    def check_results(self):
        for item in self.job.items.select_related("chunk"):
            chunk = item.chunk
            accepted = chunk.replicas.filter(state=Replica.State.ACCEPTED)
            answers = [replica.answer[item.position] for replica in accepted]
            if chunk.referee_answer is not None:
                answers.append(chunk.referee_answer[item.position])
            if chunk.state in {Chunk.State.PROVISIONAL, Chunk.State.FINAL}:
                assert item.state == chunk.state
                assert item.detections in [
                    [{"label": "person", "score": found[1], "box": found[2:]} for found in answer]
                    for answer in answers
                ]
            else:
                assert (item.state, item.detections) == (
                    "failed" if chunk.state == Chunk.State.FAILED else "waiting",
                    None,
                )


@pytest.mark.lots
@pytest.mark.django_db
@pytest.mark.parametrize("count", [FEW_NODES, MANY_NODES])
def test_any_history_ends_sound_and_paid(count):
    History.world = World(nodes=count)

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            # Without shrinking, which takes minutes: the steps that failed are few enough.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
