"""What machines answer: the right thing, a wrong one, or the right one in other digits."""

from __future__ import annotations

import random

from bench.simulation.cheats import Cheat
from bench.simulation.fleet import PICTURES, RIGHT, Answer, Chunk, Lot, Machine

#: The answer of all who cheat in concert; other answers have numbers of their own.
CONCERTED = 1


class Liar:
    """Gives answers. Tokens: 0 right, 1 the ring's, others differ from all."""

    def __init__(self, chance: random.Random, *, noise: float) -> None:
        self._chance = chance
        self._noise = noise
        self._unlike = CONCERTED

    def answer(self, chunk: Chunk, machine: Machine, *, now: float) -> Answer:
        """Return the machine's answer to the chunk, and how it answered the gold picture."""
        cheat = machine.cheat
        if cheat is not None and self._is_lying(cheat, chunk, machine):
            if machine.cheated_at is None:
                machine.cheated_at, machine.cheated_from = now, machine.answered
            harm = 1 / PICTURES if cheat.is_one_picture else 1.0
            token = CONCERTED if cheat.is_in_concert else self._another()
            is_hit = self._hits_gold(cheat, chunk)
            passed = not is_hit if chunk.has_gold else None
            return Answer(
                chunk, machine, token, harm, machine.checks, now, passed, is_near=cheat.is_near
            )
        token = self._another() if self._chance.random() < self._noise else RIGHT
        passed = self._chance.random() >= self._noise if chunk.has_gold else None
        return Answer(chunk, machine, token, 0.0, machine.checks, now, passed, is_near=True)

    def _is_lying(self, cheat: Cheat, chunk: Chunk, machine: Machine) -> bool:
        if machine.answered <= cheat.sleeps:
            return False
        if cheat.is_paired and not _has_accomplice(chunk, machine):
            return False
        lot = chunk.lot(Lot.CONCERT) if cheat.is_in_concert else self._chance.random()
        return lot < cheat.rate

    def _hits_gold(self, cheat: Cheat, chunk: Chunk) -> bool:
        """Accomplices spoil the same picture, so they hit the gold one together or not."""
        if not cheat.is_one_picture:
            return True
        lot = chunk.lot(Lot.PICTURE) if cheat.is_in_concert else self._chance.random()
        return lot < 1 / (PICTURES + 1)

    def _another(self) -> int:
        self._unlike += 1
        return self._unlike


def _has_accomplice(chunk: Chunk, machine: Machine) -> bool:
    """Say whether another cheat has the chunk as well and has not answered it honestly."""
    return any(
        each.machine.cheat is not None and each.machine is not machine for each in chunk.running
    ) or any(each.token == CONCERTED for each in chunk.answers)
