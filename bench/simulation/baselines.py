"""What others do, in the same world: a quorum of two, and BOINC's adaptive replication."""

from __future__ import annotations

import random
from collections import Counter

from bench.simulation.fleet import Answer, Chunk, Machine, State
from bench.simulation.world import World

#: As BOINC's `max_total_results`.
ATTEMPTS_MAX = 8


class Quorum:
    """Two equal answers of different owners are final at once."""

    def __init__(self, size: int = 2) -> None:
        self._size = size

    def attach(self, world: World) -> None:
        """Take the world this policy decides for."""
        self._world = world

    def given(self, chunk: Chunk, machine: Machine) -> None:
        """Ask until as many have it as must agree."""
        del machine
        chunk.needs = self._missing(chunk)

    def lost(self, chunk: Chunk) -> None:
        """Ask another machine."""
        self._go_on(chunk)

    def arrived(self, answer: Answer) -> None:
        """Accept the first group that is large enough."""
        chunk = answer.chunk
        if chunk.state is not State.OPEN:
            return
        token, size = Counter(each.token for each in chunk.answers).most_common(1)[0]
        if size >= self._missing_from(chunk):
            self._accept(chunk, token)
        else:
            self._go_on(chunk)

    def may_settle(self, chunk: Chunk) -> float | None:
        """Nothing waits: accepted is final."""
        del chunk
        return None

    def _missing_from(self, chunk: Chunk) -> int:
        del chunk
        return self._size

    def _missing(self, chunk: Chunk) -> int:
        most = max(Counter(each.token for each in chunk.answers).values(), default=0)
        return max(0, self._missing_from(chunk) - most - len(chunk.running))

    def _go_on(self, chunk: Chunk) -> None:
        chunk.needs = self._missing(chunk)
        if chunk.attempts + chunk.needs > ATTEMPTS_MAX:
            chunk.needs = 0
            chunk.state = State.FAILED
            self._world.tally.failed += 1
            self._world.cancel(chunk)
        self._world.offer(chunk)

    def _accept(self, chunk: Chunk, token: int) -> None:
        chunk.harm = next(each.harm for each in chunk.answers if each.token == token)
        chunk.needs = 0
        self._world.tally.accepted += 1
        self._judge(chunk, token)
        self._world.cancel(chunk)
        self._world.finalise(chunk)

    def _judge(self, chunk: Chunk, token: int) -> None:
        """A plain quorum remembers nothing of anybody."""


class Adaptive(Quorum):
    """BOINC: who gave ten valid answers in a row is mostly believed alone.

    `sched/sched_send.cpp` and `CONS_VALID_UNREPLICATED` of BOINC: replicated with
    probability 1/CV. `Machine.checks` is CV; only replicated answers count, which errs on the
    side of more replication.
    """

    TRUSTED_FROM = 10

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def given(self, chunk: Chunk, machine: Machine) -> None:
        """Decide with the first machine whether it is asked alone."""
        if chunk.attempts == 1:
            valid = machine.checks
            is_alone = valid >= self.TRUSTED_FROM and self._chance.random() > 1 / valid
            chunk.is_refereed = is_alone
        super().given(chunk, machine)

    def lost(self, chunk: Chunk) -> None:
        """A lost machine's valid answers no longer count (`sched/transitioner.cpp`)."""
        chunk.is_refereed = False
        super().lost(chunk)

    def _missing_from(self, chunk: Chunk) -> int:
        return 1 if chunk.is_refereed else self._size

    def _judge(self, chunk: Chunk, token: int) -> None:
        if chunk.is_refereed:
            return
        for each in chunk.answers:
            each.machine.checks = each.machine.checks + 1 if each.token == token else 0
