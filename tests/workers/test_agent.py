"""The node's mind, with a clock of our own and with random histories."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.platform_double import (
    NODE_ID,
    make_announcement,
    make_assignment,
    make_input,
    make_reference,
)
from workers import agent as agents
from workers import assignments, events, taken
from workers.agent import Agent
from workers.protocol import limits, messages
from workers.protocol.allowance import Allowance

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MODEL = make_reference(b"model", "http://files.example/m")
PICTURE = make_input(b"picture", "http://files.example/p")


def make_agent(*, slots: int = 1, is_ready: bool = True, jitter: float = 0, **changes) -> Agent:
    agent = Agent(
        node_id=NODE_ID,
        slots=slots,
        numeric_class="c",
        software_version="1",
        jitter=lambda: jitter,
        **changes,
    )
    if is_ready:
        agent.step(events.ListeningChanged(True), now=NOW)
        agent.step(events.ModelsChanged((MODEL.digest,), False), now=NOW)
    return agent


def assign(name: str = "1", *, now: datetime = NOW, **changes) -> events.Assigned:
    fields = {"model": MODEL, "inputs": [PICTURE], "now": now, "assignment": name}
    return events.Assigned((make_assignment(**(fields | changes)),))


def announce(digest: str = MODEL.digest, *, at: datetime = NOW) -> events.Announced:
    return events.Announced(make_announcement(digest, sent_at=at))


def withdraw(*names: str, node: str = NODE_ID, at: datetime = NOW) -> events.Withdrawn:
    return events.Withdrawn(messages.Withdrawal(sent_at=at, node=node, assignments=list(names)))


def finish(event: events.Assigned) -> events.Finished:
    report = assignments.unanswered(
        event.assignments[0], status="failed", reason="x", numeric_class="c", now=NOW
    )
    return events.Finished(event.assignments[0].assignment, report)


def kinds(instructions: list[events.Instruction]) -> list[str]:
    return [type(each).__name__ for each in instructions]


def report(instruction: events.Instruction) -> messages.Report:
    assert isinstance(instruction, events.SendReport)
    return instruction.message


def beat(instruction: events.Instruction) -> messages.Heartbeat:
    assert isinstance(instruction, events.SendHeartbeat)
    return instruction.message


def test_several_assignments_of_one_message_are_taken_in_order():
    agent = make_agent(slots=2)
    batch = tuple(assign(name).assignments[0] for name in ("1", "2", "2", "3"))

    found = agent.step(events.Assigned(batch), now=NOW)

    assert [type(each) for each in found] == [
        events.Drop,
        events.Start,
        events.Start,
        events.FetchAhead,
        events.SendHeartbeat,
    ]
    assert found[0] == events.Drop("assignment", "already_held")
    assert found[4].message.running == ["1", "2", "3"]


class TestAnnouncements:
    def test_are_acknowledged_and_a_cached_model_is_opened(self):
        ack, prepare = make_agent(slots=3).step(announce(), now=NOW)

        # One more than it computes at a time, so that no slot waits for the next one.
        assert (ack.message.slots, ack.message.cached_models) == (4, [MODEL.digest])
        assert prepare == events.Prepare(MODEL.digest)

    def test_of_a_model_that_cannot_be_locked_in_are_dropped(self):
        agent = make_agent(only_models=frozenset({MODEL.digest}))

        assert kinds(agent.step(announce(), now=NOW)) == ["SendAck", "Prepare"]
        assert agent.step(announce("0" * 64), now=NOW) == [
            events.Drop("announcement", "room_not_locked")
        ]

    def test_of_an_unknown_model_are_acknowledged_too(self):
        assert kinds(make_agent().step(announce("0" * 64), now=NOW)) == ["SendAck"]

    def test_are_acknowledged_while_all_slots_are_taken(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)

        assert kinds(agent.step(announce(), now=NOW)) == ["SendAck", "Prepare"]

    def test_are_dropped_while_paused(self):
        agent = make_agent(rest_reason="paused_locally")

        assert agent.step(announce(), now=NOW) == [events.Drop("announcement", "paused_locally")]

    @pytest.mark.parametrize("minutes", [-11, 11])
    def test_of_another_time_are_dropped(self, minutes):
        at = NOW + timedelta(minutes=minutes)

        assert make_agent().step(announce(at=at), now=NOW) == [events.Drop("announcement", "stale")]


class TestAssignments:
    def test_of_a_model_that_cannot_be_locked_in_are_not_begun(self):
        agent = make_agent(only_models=frozenset())

        (returned,) = agent.step(assign(), now=NOW)

        assert (report(returned).status, report(returned).reason) == ("failed", "room_not_locked")
        assert agent.held == []

    def test_start_with_a_heartbeat_that_names_them(self):
        event = assign()

        start, heartbeat = make_agent().step(event, now=NOW)

        assert start == events.Start(event.assignments[0])
        assert beat(heartbeat).running == ["1"]

    def test_wait_for_a_slot_and_are_held_meanwhile(self):
        agent = make_agent()
        first, second = assign("1"), assign("2")
        agent.step(first, now=NOW)

        fetch, heartbeat = agent.step(second, now=NOW)
        assert fetch == events.FetchAhead(second.assignments[0])
        assert beat(heartbeat).running == agent.held == ["1", "2"]
        sent, start = agent.step(finish(first), now=NOW)
        assert report(sent).assignment == "1"
        assert start == events.Start(second.assignments[0])
        assert agent.held == ["2"]

    def test_beyond_the_slots_are_asked_for_up_to_what_a_message_may_say(self):
        ack, _ = make_agent(slots=limits.SLOTS_MAX).step(announce(), now=NOW)

        assert ack.message.slots == limits.SLOTS_MAX

    def test_of_another_node_are_dropped(self):
        agent = make_agent()

        assert agent.step(assign(node="n_other"), now=NOW) == [events.Drop("assignment", "foreign")]
        assert agent.held == []

    @pytest.mark.parametrize("is_finished", [False, True])
    def test_are_taken_once(self, is_finished):
        agent = make_agent()
        event = assign()
        agent.step(event, now=NOW)
        if is_finished:
            agent.step(finish(event), now=NOW)
        held = agent.held

        assert agent.step(event, now=NOW) == [events.Drop("assignment", "replayed")]
        assert agent.held == held

    def test_of_the_same_name_with_another_nonce_are_dropped_while_held(self):
        agent = make_agent()
        agent.step(assign("1"), now=NOW)

        assert agent.step(assign("1"), now=NOW) == [events.Drop("assignment", "already_held")]

    def test_expire_only_after_the_accepted_difference_of_clocks(self):
        event = assign()
        last = event.assignments[0].expires_at + assignments.SKEW

        assert kinds(make_agent().step(event, now=last)) == ["Start", "SendHeartbeat"]
        (sent,) = make_agent().step(event, now=last + SECOND)
        assert (report(sent).status, report(sent).reason) == ("failed", "expired")

    def test_from_the_future_are_dropped(self):
        event = assign(now=NOW + timedelta(minutes=11))

        assert make_agent().step(event, now=NOW) == [events.Drop("assignment", "from_the_future")]

    def test_are_handed_back_while_paused(self):
        agent = make_agent(rest_reason="paused_locally")

        (sent,) = agent.step(assign(), now=NOW)

        assert (report(sent).status, report(sent).reason) == ("handed_back", "paused_locally")
        assert agent.held == []

    def test_beyond_what_a_heartbeat_may_name_fail_as_busy(self):
        agent = make_agent()
        for number in range(limits.RUNNING_MAX):
            agent.step(assign(str(number)), now=NOW)

        (sent,) = agent.step(assign("more"), now=NOW)

        assert (report(sent).status, report(sent).reason) == ("failed", "busy")
        assert len(agent.held) == limits.RUNNING_MAX


class TestWithdrawals:
    def test_stop_what_runs_and_its_report_is_not_sent(self):
        agent = make_agent()
        event = assign()
        agent.step(event, now=NOW)

        assert agent.step(withdraw("1", "unknown"), now=NOW) == [events.Cancel("1")]
        assert (agent.held, agent.running_count) == ([], 1)
        assert agent.step(finish(event), now=NOW) == []
        assert agent.running_count == 0

    def test_forget_what_waits(self):
        agent = make_agent()
        first = assign("1")
        agent.step(first, now=NOW)
        agent.step(assign("2"), now=NOW)

        assert agent.step(withdraw("2"), now=NOW) == []
        assert agent.held == ["1"]
        assert kinds(agent.step(finish(first), now=NOW)) == ["SendReport"]

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (withdraw("1", node="n_other"), "foreign"),
            (withdraw("1", at=NOW - timedelta(minutes=11)), "stale"),
        ],
    )
    def test_of_others_or_of_another_time_change_nothing(self, event, reason):
        agent = make_agent()
        agent.step(assign("1"), now=NOW)

        assert agent.step(event, now=NOW) == [events.Drop("withdrawal", reason)]
        assert agent.held == ["1"]


class TestPausing:
    def test_hands_back_what_waits_and_lets_the_rest_finish(self):
        agent = make_agent()
        first = assign("1")
        agent.step(first, now=NOW)
        agent.step(assign("2"), now=NOW)

        heartbeat, returned = agent.step(events.PermissionChanged("paused_locally"), now=NOW)

        assert (beat(heartbeat).reason, beat(heartbeat).running) == ("paused_locally", ["1"])
        assert (report(returned).assignment, report(returned).status) == ("2", "handed_back")
        assert agent.held == ["1"]
        assert kinds(agent.step(finish(first), now=NOW)) == ["SendReport"]

    def test_ends_with_a_heartbeat_without_reason(self):
        agent = make_agent(rest_reason="paused_locally")

        (heartbeat,) = agent.step(events.PermissionChanged(""), now=NOW)

        assert beat(heartbeat).reason == ""

    def test_stopping_says_offline_and_hands_back(self):
        agent = make_agent()
        agent.step(assign("1"), now=NOW)
        agent.step(assign("2"), now=NOW)

        heartbeat, returned = agent.step(events.Stopping(), now=NOW)

        assert beat(heartbeat).reason == "offline"
        assert (report(returned).assignment, report(returned).reason) == ("2", "offline")

    def test_a_node_says_why_it_is_not_ready(self):
        agent = make_agent(is_ready=False)

        assert agent.reason == "offline"
        agent.step(events.ListeningChanged(True), now=NOW)
        assert agent.reason == "model_downloading"
        agent.step(events.ModelsChanged((), False), now=NOW)
        assert agent.reason == ""


class TestHeartbeats:
    @pytest.mark.parametrize("jitter", [-1, 0, 1])
    @pytest.mark.parametrize(("is_busy", "interval"), [(True, 15), (False, 120)])
    def test_come_in_their_interval(self, jitter, is_busy, interval):
        agent = make_agent(jitter=jitter)
        if is_busy:
            agent.step(assign(), now=NOW)
        due = NOW + interval * (1 + 0.1 * jitter) * SECOND

        assert agent.step(events.Ticked(), now=due - SECOND / 100) == []
        assert kinds(agent.step(events.Ticked(), now=due)) == ["SendHeartbeat"]

    def test_the_first_comes_at_once(self):
        assert kinds(make_agent(is_ready=False).step(events.Ticked(), now=NOW)) == ["SendHeartbeat"]

    def test_go_on_when_the_clock_is_set_back(self):
        agent = make_agent()
        earlier = NOW - timedelta(hours=5)

        (heartbeat,) = agent.step(events.Ticked(), now=earlier)

        assert beat(heartbeat).sent_at == earlier

    def test_of_the_same_moment_rise(self):
        agent = make_agent(slots=2)

        first = beat(agent.step(assign("1"), now=NOW)[-1])
        second = beat(agent.step(assign("2"), now=NOW)[-1])

        assert second.sent_at > first.sent_at


NAMES = [str(number) for number in range(6)]
EVENTS = {name: [assign(name), assign(name), assign(name, node="n_other")] for name in NAMES}
histories = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.one_of(
            st.tuples(st.just("assign"), st.sampled_from(NAMES), st.integers(0, 2)),
            st.tuples(st.just("withdraw"), st.sampled_from(NAMES)),
            st.tuples(st.just("finish"), st.integers(0, 5)),
            st.tuples(st.just("pause"), st.booleans()),
            st.tuples(st.just("rest"), st.sampled_from(["", "user_active", "battery"])),
            st.tuples(st.just("allow"), st.integers(1, 3)),
            st.tuples(st.just("serve"), st.sampled_from([None, frozenset({"research"})])),
            st.tuples(st.just("listen"), st.booleans()),
            st.tuples(st.just("announce")),
            st.tuples(st.just("tick")),
        ),
    ),
    max_size=60,
)


class Watcher:
    """Follows an agent's instructions and asserts its invariants at each step."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.agent = make_agent(slots=slots)
        self.now = NOW
        self.is_paused = False
        #: Categories of clients allowed; the work of these histories is for undeclared ones.
        self.served: frozenset[str] | None = None
        self.running: list[messages.Assignment] = []
        self.started: Counter[tuple[str, str]] = Counter()
        self.reported: Counter[tuple[str, str]] = Counter()
        self.cancelled: set[str] = set()
        self.withdrawn: set[tuple[str, str]] = set()
        self.beaten_at = NOW

    def feed(self, event: events.Event) -> None:
        for instruction in self.agent.step(event, now=self.now):
            self.check(instruction)
        assert len(self.running) == self.agent.running_count <= self.slots
        assert len(self.agent.held) <= limits.RUNNING_MAX
        assert len(set(self.agent.held)) == len(self.agent.held)

    def check(self, instruction: events.Instruction) -> None:
        match instruction:
            case events.Start():
                assert not self.is_paused
                assert self.served is None
                assert instruction.assignment.node == NODE_ID
                self.running.append(instruction.assignment)
                key = (instruction.assignment.assignment, instruction.assignment.nonce)
                self.started[key] += 1
                assert self.started[key] == 1
            case events.SendReport():
                key = (instruction.message.assignment, instruction.message.nonce)
                # After its time it is forgotten: a copy may come, and go back once more.
                is_forgotten = self.now > NOW + timedelta(minutes=5) + assignments.SKEW
                is_copy = is_forgotten and self.reported[key] == 1
                self.reported[key] += instruction.message.reason != "expired" and not is_copy
                assert self.reported[key] <= 1
                key_is_ours = instruction.message.status == "handed_back"
                assert key_is_ours or instruction.message.assignment not in self.cancelled
            case events.SendHeartbeat():
                assert instruction.message.sent_at > self.beaten_at - SECOND
                self.beaten_at = instruction.message.sent_at
                assert not self.cancelled & set(instruction.message.running)
            case events.Cancel():
                assert instruction.assignment in {each.assignment for each in self.running}
                self.cancelled.add(instruction.assignment)
                if not instruction.is_withdrawn:
                    assert self.is_paused or self.served is not None
            case events.SendAck():
                assert not self.is_paused
                assert self.served is None

    def do(self, action: tuple) -> None:  # noqa: C901 -- a line for each
        match action:
            case ("assign", name, number):
                self.feed(EVENTS[name][number])
            case ("withdraw", name):
                self.feed(withdraw(name, at=self.now))
            case ("finish", number) if self.running:
                ended = self.running.pop(number % len(self.running))
                key = (ended.assignment, ended.nonce)
                if ended.assignment in self.cancelled and not self.reported[key]:
                    self.withdrawn.add(key)
                self.feed(finish(events.Assigned((ended,))))
                self.cancelled.discard(ended.assignment)
            case ("pause", is_paused):
                self.is_paused = is_paused
                self.feed(events.PermissionChanged("paused_locally" if is_paused else ""))
            case ("rest", reason):
                self.is_paused = bool(reason)
                self.feed(events.PermissionChanged(reason))
            case ("allow", slots):
                self.feed(allow(slots=min(slots, self.slots), categories=self.served))
            case ("serve", categories):
                self.served = categories
                self.feed(allow(slots=self.slots, categories=categories))
                assert categories is None or self.agent.held == []
            case ("listen", is_listening):
                self.feed(events.ListeningChanged(is_listening))
            case ("announce",):
                self.feed(announce(at=self.now))
            case _:
                self.feed(events.Ticked())


@given(slots=st.integers(1, 3), history=histories)
@settings(max_examples=150, deadline=None)
def test_no_history_breaks_the_invariants(slots, history):
    watcher = Watcher(slots)

    for seconds, action in history:
        watcher.now += seconds * SECOND
        watcher.do(action)
    watcher.do(("pause", True))
    while watcher.running:
        watcher.do(("finish", 0))

    assert watcher.agent.held == []
    assert watcher.started.keys() - watcher.withdrawn == {
        key for key in watcher.started if watcher.reported[key] == 1
    }


def test_what_was_taken_is_forgotten_only_when_it_has_expired():
    agent = make_agent()
    event = assign()
    agent.step(event, now=NOW)
    agent.step(finish(event), now=NOW)
    last = event.assignments[0].expires_at + assignments.SKEW

    agent.step(events.Ticked(), now=last)
    assert agent.step(event, now=last) == [events.Drop("assignment", "replayed")]
    agent.step(events.Ticked(), now=last + timedelta(minutes=3))
    (sent,) = agent.step(event, now=last + timedelta(minutes=3))
    assert report(sent).reason == "expired"


def test_the_memory_of_what_was_taken_is_bounded(monkeypatch):
    monkeypatch.setattr(taken, "TAKEN_MAX", 3)
    agent = make_agent()
    sent = [assign(str(number)) for number in range(10)]
    for event in sent:
        agent.step(event, now=NOW)
        agent.step(finish(event), now=NOW)

    # The last three are known; of the earlier ones a copy would be computed once more.
    assert [kinds(agent.step(event, now=NOW)) for event in sent[-3:]] == [["Drop"]] * 3
    assert kinds(agent.step(sent[0], now=NOW)) == ["Start", "SendHeartbeat"]


def rest(reason: str) -> events.PermissionChanged:
    return events.PermissionChanged(reason)


def allow(*, slots: int = 1, kinds=None, revision: int = 0, profile=None, categories=None):
    return events.AllowanceChanged(slots, kinds, revision, profile, categories)


def page(revision: int, *, node: str = NODE_ID, is_paused: bool = True) -> events.SettingsReceived:
    return events.SettingsReceived(
        messages.NodeSettings(
            sent_at=NOW, node=node, revision=revision, is_paused=is_paused, wishes=Allowance()
        )
    )


class TestResting:
    def test_running_work_has_ten_seconds_and_is_then_handed_back(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)

        (beat,) = agent.step(rest("user_active"), now=NOW)
        assert (beat.message.reason, beat.message.running) == ("user_active", ["1"])
        assert agent.step(events.Ticked(), now=NOW + 9.9 * SECOND) == []
        cancel, returned, beat = agent.step(events.Ticked(), now=NOW + 10 * SECOND)

        assert cancel == events.Cancel("1", is_withdrawn=False)
        assert (report(returned).status, report(returned).reason) == ("handed_back", "user_active")
        assert beat.message.running == []
        late = agent.step(finish(assign()), now=NOW + 11 * SECOND)
        assert not any(isinstance(each, events.SendReport) for each in late)

    def test_work_that_ends_within_the_grace_is_reported(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)
        agent.step(rest("battery"), now=NOW)

        (sent,) = agent.step(finish(assign()), now=NOW + 5 * SECOND)

        assert report(sent).reason == "x"
        assert agent.step(events.Ticked(), now=NOW + 10 * SECOND) == []

    def test_a_cause_that_is_gone_within_the_grace_costs_nothing(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)
        agent.step(rest("battery"), now=NOW)
        agent.step(rest(""), now=NOW + 5 * SECOND)

        assert agent.step(events.Ticked(), now=NOW + 10 * SECOND) == []
        assert agent.held == ["1"]

    def test_another_cause_does_not_prolong_the_grace(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)
        agent.step(rest("battery"), now=NOW)
        agent.step(rest("too_hot"), now=NOW + 8 * SECOND)

        handed = agent.step(events.Ticked(), now=NOW + 10 * SECOND)

        assert report(handed[1]).reason == "too_hot"

    @pytest.mark.parametrize("reason", ["paused_locally", "paused_on_page"])
    def test_a_pause_lets_running_work_end_in_its_own_time(self, reason):
        agent = make_agent()
        agent.step(assign(), now=NOW)
        agent.step(rest(reason), now=NOW)

        later = agent.step(events.Ticked(), now=NOW + 60 * SECOND)

        assert [type(each) for each in later] == [events.SendHeartbeat]
        assert agent.held == ["1"]

    def test_after_sleep_the_first_tick_asks_whether_the_work_is_still_wanted(self):
        agent = make_agent()
        agent.step(assign(), now=NOW)
        awake = NOW + timedelta(hours=3)

        (beat,) = agent.step(events.Ticked(), now=awake)
        assert (beat.message.running, beat.message.sent_at) == (["1"], awake)

        assert agent.step(withdraw("1", at=awake), now=awake) == [events.Cancel("1")]


class TestAllowance:
    def test_fewer_slots_start_less_and_more_start_what_waits(self):
        agent = make_agent(slots=2)
        agent.step(allow(slots=1), now=NOW)
        agent.step(assign("1"), now=NOW)
        assert kinds(agent.step(assign("2"), now=NOW)) == ["FetchAhead", "SendHeartbeat"]

        started, beat = agent.step(allow(slots=2), now=NOW)

        assert started.assignment.assignment == "2"
        assert beat.message.slots == 3

    def test_an_unwanted_kind_is_neither_acknowledged_nor_computed(self):
        agent = make_agent()
        agent.step(allow(kinds=frozenset({"train"})), now=NOW)

        assert agent.step(announce(), now=NOW) == [events.Drop("announcement", "kind_not_allowed")]
        (sent,) = agent.step(assign(), now=NOW)

        assert (report(sent).status, report(sent).reason) == ("handed_back", "kind_not_allowed")

    def test_no_kind_at_all_is_a_reason(self):
        agent = make_agent()

        (beat,) = agent.step(allow(kinds=frozenset()), now=NOW)

        assert beat.message.reason == "kinds_excluded"

    def test_work_for_an_unwanted_client_is_neither_acknowledged_nor_computed(self):
        agent = make_agent()
        agent.step(allow(categories=frozenset({"research"})), now=NOW)

        assert agent.step(announce(), now=NOW) == [
            events.Drop("announcement", "category_not_allowed")
        ]
        (sent,) = agent.step(assign(client_category="commercial"), now=NOW)

        assert (report(sent).status, report(sent).reason) == ("handed_back", "category_not_allowed")
        assert agent.held == []

    def test_work_for_a_wanted_client_is_acknowledged_and_computed(self):
        agent = make_agent()
        agent.step(allow(categories=frozenset({"research"})), now=NOW)
        announced = make_announcement(MODEL.digest, sent_at=NOW, client_category="research")

        assert kinds(agent.step(events.Announced(announced), now=NOW)) == ["SendAck", "Prepare"]
        started = agent.step(assign(client_category="research"), now=NOW)
        assert kinds(started) == ["Start", "SendHeartbeat"]

    @pytest.mark.parametrize("is_resting", [False, True])
    def test_new_limits_end_what_they_forbid_at_once(self, is_resting):
        agent = make_agent()
        agent.step(assign("1"), now=NOW)
        agent.step(assign("2"), now=NOW)
        if is_resting:
            agent.step(rest("paused_locally"), now=NOW)

        found = agent.step(allow(categories=frozenset({"research"})), now=NOW)

        assert events.Cancel("1", is_withdrawn=False) in found
        returned = [each.message for each in found if isinstance(each, events.SendReport)]
        assert {(each.assignment, each.reason) for each in returned} == (
            {("1", "category_not_allowed")}
            if is_resting  # what waited went back when the rest began
            else {("1", "category_not_allowed"), ("2", "category_not_allowed")}
        )
        assert agent.held == []

    def test_no_client_at_all_is_a_reason(self):
        agent = make_agent()

        (beat,) = agent.step(allow(categories=frozenset()), now=NOW)

        assert beat.message.reason == "categories_excluded"

    def test_the_profile_goes_with_the_first_heartbeat_and_then_seldom(self):
        agent = make_agent()
        profile = messages.Profile(allowance=Allowance(cores=2), images_per_second=8.5)
        beats = agent.step(allow(profile=profile), now=NOW)
        for number in range(1, agents.PROFILE_EVERY + 2):
            beats += agent.step(events.Ticked(), now=NOW + number * timedelta(minutes=5))

        told = [beat.message.profile for beat in beats]
        assert told == [profile, *[None] * agents.PROFILE_EVERY, profile]


class TestPage:
    def test_new_settings_are_kept_and_older_ones_are_a_replay(self):
        agent = make_agent()
        assert agent.step(page(2), now=NOW) == [events.KeepSettings(page(2).settings)]
        agent.step(allow(revision=2), now=NOW)

        assert agent.step(page(1), now=NOW) == [events.Drop("settings", "replayed")]
        (beat,) = agent.step(page(2), now=NOW)
        assert beat.message.settings_revision == 2

    def test_another_nodes_settings_and_receipts_are_refused(self):
        agent = make_agent()
        receipt = messages.Receipt(sent_at=NOW, node="n_other", reports=[])

        assert agent.step(page(1, node="n_other"), now=NOW) == [events.Drop("settings", "foreign")]
        assert agent.step(events.Receipted(receipt), now=NOW) == [events.Drop("receipt", "foreign")]

    def test_a_receipt_lets_the_stored_report_go(self):
        name = messages.ReportName(assignment="1", nonce="a" * 32)
        receipt = messages.Receipt(sent_at=NOW, node=NODE_ID, reports=[name])

        assert make_agent().step(events.Receipted(receipt), now=NOW) == [events.Forget((name,))]
