"""A fleet at work: machines come, compute, lie, vanish; a policy says what their answers mean."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from bench.simulation import endings, kernel, lies
from bench.simulation.cheats import Cheat
from bench.simulation.churn import Churn
from bench.simulation.fleet import PICTURES, Answer, Attempt, Chunk, Machine, State

#: Seconds without a sign of life before a lost machine's chunk is given to another.
LEASE = 45.0
#: Seconds between two looks for work that is late.
TICK = 5.0
#: Ready chunks looked at for one machine.
LOOKED_AT = 20


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is simulated."""

    machines: int
    #: Work of the job, in whole chunks; None: work without end.
    chunks: int | None = None
    #: Seconds of a chunk at speed 1.
    chunk_seconds: float = 300.0
    #: Share of machines that cheat, and how.
    cheats: float = 0.0
    cheat: Cheat | None = None
    #: Share of honest answers, and of gold checks, that differ by the processor's last digits.
    noise: float = 1e-4
    #: Spread of the machines' speeds: sigma of their logarithm.
    speed_sigma: float = 0.5
    #: Checks that machines have passed before, at most; 0: a new fleet.
    checks_max: float = 0.0
    #: Share of time machines wait between two chunks: a fleet with little work.
    idle_share: float = 0.0
    churn: Churn = field(default_factory=Churn)


class Policy(Protocol):
    """What is done with answers; `world` is told what to give out."""

    def attach(self, world: World) -> None:
        """Take the world this policy decides for."""

    def given(self, chunk: Chunk, machine: Machine) -> None:
        """A machine was given the chunk: say how many more need it (`chunk.needs`)."""

    def arrived(self, answer: Answer) -> None:
        """An answer came in."""

    def lost(self, chunk: Chunk) -> None:
        """A machine that had the chunk was lost."""


@dataclass(kw_only=True)
class Tally:
    """What happened, in sums."""

    #: Computed chunks, parts of cancelled ones and the referee's included.
    computed: float = 0.0
    #: Gold pictures computed.
    gold: int = 0
    #: Work that ended with its machine.
    lost: float = 0.0
    referee: int = 0
    hedges: int = 0
    #: Chunks with a result, final or not; given up; final; wrong shares of final ones.
    accepted: int = 0
    failed: int = 0
    final: int = 0
    wrong: float = 0.0
    corrected: int = 0


class World:
    """One run. Machines always work while they are there and anything is ready."""

    def __init__(self, scenario: Scenario, policy: Policy, *, seed: int) -> None:
        self.scenario = scenario
        self.agenda = kernel.Agenda()
        self.tally = Tally()
        self.policy = policy
        self._fleet_chance = kernel.stream(seed, "fleet")
        self._lots = kernel.stream(seed, "lots")
        self._liar = lies.Liar(kernel.stream(seed, "lies"), noise=scenario.noise)
        self._made = 0
        self._ready: deque[Chunk] = deque()
        #: (-speed, number, machine): free machines, there or not.
        self._idle: list[tuple[float, int, Machine]] = []
        self._running = 0
        self._hedges_out = 0
        self._paces: deque[float] = deque(maxlen=endings.ANSWERS_MAX)
        #: Those at work, oldest first; a set that keeps its order.
        self._by_start: dict[Attempt, None] = {}
        self._settling: dict[int, list[Chunk]] = {}
        self._left = math.inf if scenario.chunks is None else float(scenario.chunks)
        self.machines = [self._machine(number) for number in range(scenario.machines)]
        there = [each.speed for each in self.machines if each.leaves_at > 0]
        self.capacity, self._there = sum(there), len(there)
        policy.attach(self)

    # The run

    def run(self, *, until: float) -> None:
        """Run to that time, or to the end of the job."""
        for machine in sorted(self.machines, key=lambda each: -each.speed):
            if machine.leaves_at > 0:
                self._seek(machine)
        if self.scenario.chunks is None:
            self.agenda.run(until=until)
        else:
            self.agenda.enter(TICK, self._look_for_late, None)
            self.agenda.run(until=until, is_over=self._is_done)

    def _is_done(self) -> bool:
        return self._is_given_out and self.tally.accepted + self.tally.failed == self._made

    @property
    def _is_given_out(self) -> bool:
        return self._left < 1e-6  # the sum of the shares is rounded

    def _machine(self, number: int) -> Machine:
        chance, scenario = self._fleet_chance, self.scenario
        is_cheat = scenario.cheat is not None and chance.random() < scenario.cheats
        machine = Machine(
            number=number,
            speed=chance.lognormvariate(0.0, scenario.speed_sigma),
            leaves_at=0.0,
            cheat=scenario.cheat if is_cheat else None,
            checks=math.floor(scenario.checks_max * chance.random()),
            lives=scenario.cheat.returns if is_cheat and scenario.cheat else 0,
        )
        if chance.random() < scenario.churn.share_on:
            machine.leaves_at = scenario.churn.on_left(chance)
        else:
            self.agenda.enter(scenario.churn.off_left(chance), self._come, machine)
        return machine

    # Machines

    def _come(self, machine: Machine) -> None:
        machine.leaves_at = self.agenda.now + self.scenario.churn.on(self._fleet_chance)
        self._seek(machine)

    def _await(self, machine: Machine) -> None:
        """Let a machine come back that has left, perhaps unseen and long ago."""
        chance, churn = self._fleet_chance, self.scenario.churn
        at = machine.leaves_at
        while True:
            at += churn.off(chance)
            stays = at + churn.on(chance)
            if stays > self.agenda.now:
                break
            at = stays
        machine.leaves_at = stays
        self.agenda.enter(max(at, self.agenda.now), self._seek, machine)

    def _seek(self, machine: Machine) -> None:
        """Give a free machine work, if it is there and may have any."""
        now = self.agenda.now
        if machine.is_gone:
            return
        if machine.leaves_at <= now:
            self._await(machine)
        elif machine.barred_until > now:
            if math.isfinite(machine.barred_until):
                self.agenda.enter(machine.barred_until, self._seek, machine)
        elif (chunk := self._pick(machine)) is not None:
            self._give(chunk, machine)
        else:
            heapq.heappush(self._idle, (-machine.speed, machine.number, machine))

    def _pick(self, machine: Machine) -> Chunk | None:
        ready = self._ready
        for _ in range(min(len(ready), LOOKED_AT)):
            chunk = ready.popleft()
            if chunk.needs <= 0:
                chunk.is_ready = False
            elif may_have(machine, chunk):
                chunk.is_ready = False
                return chunk
            else:
                ready.append(chunk)
        return self._new_chunk()

    def _new_chunk(self) -> Chunk | None:
        if self._is_given_out:
            return None
        share = min(self._left, endings.share_of_next(left=self._left, machines=self._there))
        self._left -= share
        self._made += 1
        work = share * self.scenario.chunk_seconds
        return Chunk(self._made, work, self._lots.getrandbits(128))

    def enlist(self, machine: Machine) -> None:
        """Let a new machine join a day from now, as whoever was caught returns."""
        machine.number = len(self.machines)
        self.machines.append(machine)
        self.agenda.enter(self.agenda.now + 86400.0, self._come, machine)

    # Attempts

    def _give(self, chunk: Chunk, machine: Machine, *, is_hedge: bool = False) -> None:
        now = self.agenda.now
        attempt = Attempt(chunk, machine, now, chunk.work / machine.speed, is_hedge)
        chunk.running.append(attempt)
        chunk.owners.append(machine)
        chunk.attempts += 1
        self._running += 1
        if self.scenario.chunks is not None:
            self._by_start[attempt] = None
        if now + attempt.takes <= machine.leaves_at:
            self.agenda.enter(now + attempt.takes, self._finish, attempt)
        else:
            self.agenda.enter(machine.leaves_at, self._vanish, attempt)
        self.policy.given(chunk, machine)
        self.offer(chunk)

    def offer(self, chunk: Chunk) -> None:
        """Give the chunk to as many machines as need it, free ones at once."""
        while chunk.needs > 0 and (machine := self._free_for(chunk)) is not None:
            self._give(chunk, machine)
        if chunk.needs > 0 and not chunk.is_ready:
            chunk.is_ready = True
            self._ready.append(chunk)

    def _free_for(self, chunk: Chunk) -> Machine | None:
        """Return the fastest free machine that may have the chunk."""
        found, kept = None, []
        while self._idle and found is None and len(kept) < LOOKED_AT:
            entry = heapq.heappop(self._idle)
            machine = entry[2]
            if machine.leaves_at <= self.agenda.now or machine.barred_until > self.agenda.now:
                self._seek(machine)
            elif may_have(machine, chunk):
                found = machine
            else:
                kept.append(entry)
        for entry in kept:
            heapq.heappush(self._idle, entry)
        return found

    def _finish(self, attempt: Attempt) -> None:
        if attempt.is_over:
            return
        chunk, machine = attempt.chunk, attempt.machine
        self._end(attempt)
        self.tally.computed += 1
        self.tally.gold += chunk.has_gold
        self._paces.append(attempt.takes / chunk.work)
        machine.answered += 1
        answer = self._liar.answer(chunk, machine, now=self.agenda.now)
        chunk.answers.append(answer)
        self.policy.arrived(answer)
        self._rest(machine, attempt.takes)

    def _rest(self, machine: Machine, worked: float) -> None:
        if share := self.scenario.idle_share:
            pause = worked * share / (1 - share)
            self.agenda.enter(self.agenda.now + pause, self._seek, machine)
        else:
            self._seek(machine)

    def _vanish(self, attempt: Attempt) -> None:
        if attempt.is_over:
            return
        self.tally.lost += (self.agenda.now - attempt.started_at) / attempt.takes
        self.agenda.enter(self.agenda.now + LEASE, self._expire, attempt)
        self._await(attempt.machine)

    def _expire(self, attempt: Attempt) -> None:
        if not attempt.is_over:
            self._end(attempt)
            attempt.chunk.owners.remove(attempt.machine)
            self.policy.lost(attempt.chunk)

    def _end(self, attempt: Attempt) -> None:
        attempt.is_over = True
        attempt.chunk.running.remove(attempt)
        self._running -= 1
        self._hedges_out -= attempt.is_hedge
        self._by_start.pop(attempt, None)

    def cancel(self, chunk: Chunk) -> None:
        """End what still runs on the chunk: it was decided."""
        for attempt in list(chunk.running):
            self._end(attempt)
            machine = attempt.machine
            spent = min(self.agenda.now, machine.leaves_at) - attempt.started_at
            self.tally.computed += spent / attempt.takes
            if machine.leaves_at > self.agenda.now:
                self.agenda.enter(self.agenda.now, self._seek, machine)

    # Late work

    def _look_for_late(self, _: None) -> None:
        """Hedge the oldest work that is late, as long as hedges are few and machines free."""
        self.agenda.enter(self.agenda.now + TICK, self._look_for_late, None)
        late_from = endings.late_from(self._paces) if self._idle else None
        if late_from is None:
            return
        budget = endings.budget(
            running=self._running, hedges=self._hedges_out, is_at_end=self._is_given_out
        )
        late = [each for each in self._by_start if self._is_late(each, late_from)][:budget]
        for attempt in late:
            self._hedge(attempt.chunk)

    def _is_late(self, attempt: Attempt, late_from: float) -> bool:
        elapsed = self.agenda.now - attempt.started_at
        return elapsed > late_from * attempt.chunk.work and not _is_hedged(attempt)

    def _hedge(self, chunk: Chunk) -> None:
        if machine := self._free_for(chunk):
            self.tally.hedges += 1
            self._hedges_out += 1
            self._give(chunk, machine, is_hedge=True)

    # Decided chunks

    def settle_at(self, at: float, chunk: Chunk) -> None:
        """Ask the policy at that time, rounded up to the hour, whether the chunk is final."""
        hour = math.ceil(at / 3600)
        if hour not in self._settling:
            self._settling[hour] = []
            self.agenda.enter(hour * 3600.0, self._settle, hour)
        self._settling[hour].append(chunk)

    def _settle(self, hour: int) -> None:
        for chunk in self._settling.pop(hour):
            if (again_at := self.policy.may_settle(chunk)) is not None:
                self.settle_at(again_at, chunk)
            elif chunk.state is State.PROVISIONAL:
                self.finalise(chunk)

    def finalise(self, chunk: Chunk) -> None:
        """Deliver the chunk's result for good."""
        chunk.state = State.FINAL
        self.tally.final += 1
        self.tally.wrong += chunk.harm
        chunk.answers.clear()


def _is_hedged(attempt: Attempt) -> bool:
    """Say whether another machine was asked because this one was late, and is at it."""
    return any(each.is_hedge for each in attempt.chunk.running)


def may_have(machine: Machine, chunk: Chunk) -> bool:
    """Say whether the machine's owner has not had the chunk, nor is kept apart from who has."""
    if machine in chunk.owners:
        return False
    return machine.apart is None or machine.apart.isdisjoint(chunk.owners)


def extra_work(tally: Tally) -> float:
    """Return what was computed beyond one computation for each chunk with a result."""
    done = tally.accepted + tally.failed
    return (tally.computed + tally.gold / PICTURES) / done - 1 if done else 0.0
