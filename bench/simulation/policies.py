"""The platform's policy, carried out in the simulation by the platform's own code.

Every decision is `tasks.verification`'s: what to accept, whom to ask, what to check, how long
to hold, what follows a fault. Here is only what the database does with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from bench.simulation.fleet import RIGHT, Answer, Chunk, Lot, Machine, State
from bench.simulation.world import World
from tasks.verification import acceptance, terms
from tasks.verification.acceptance import Decision, Facts, Given

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
#: Seconds until what could not settle is looked at again.
AGAIN_AFTER = 4 * 3600.0
#: Answers held by a machine before those long final are let go.
HELD_MAX = 4096

#: One answer as the policy sees it: token, checks, is doubted.
Seen = tuple[int, float, bool]


class Ours:
    """Credibility, gold, audits, referee, recheck: the policy that is shipped."""

    def __init__(self, target_error: str) -> None:
        self.target_error = target_error
        self._decide = _decider(target_error)

    def attach(self, world: World) -> None:
        """Take the world this policy decides for."""
        self._world = world

    def given(self, chunk: Chunk, machine: Machine) -> None:
        """Show the first machine a gold picture by lot; ask as many more as the policy says."""
        if chunk.attempts == 1:
            chunk.has_gold = chunk.lot(Lot.GOLD) < terms.gold_chance(machine.checks)
        chunk.needs = self._decision(chunk).missing

    def lost(self, chunk: Chunk) -> None:
        """Ask another machine."""
        self._advance(chunk)

    def arrived(self, answer: Answer) -> None:
        """Look at the gold picture, then at the chunk."""
        machine = answer.machine
        machine.held.append(answer)
        if len(machine.held) > HELD_MAX:
            machine.held = [
                each for each in machine.held if each.chunk.state in (State.OPEN, State.PROVISIONAL)
            ]
        if answer.passed_gold is False:
            answer.is_doubted = True  # refused, whatever else follows
            self._accuse(answer)
        if answer.chunk.state in (State.OPEN, State.PROVISIONAL):
            self._advance(answer.chunk)

    def may_settle(self, chunk: Chunk) -> float | None:
        """Return None if the chunk is final, or when to look at it again."""
        now = self._world.agenda.now
        standing = [each for each in chunk.answers if each.sequence and not each.is_doubted]
        may = (
            not chunk.is_questioned
            and not chunk.running
            and chunk.needs <= 0
            and terms.may_settle(
                believed=len(standing),
                held=timedelta(seconds=now - chunk.decided_at),
                answers_since=standing[0].machine.accepted - standing[0].sequence
                if standing
                else 0,
                is_refereed=chunk.is_refereed,
            )
        )
        return None if may else now + AGAIN_AFTER

    def _decision(self, chunk: Chunk) -> Decision:
        """Ask the policy, once for all chunks of which it sees the same."""
        seen = []
        names = {RIGHT: RIGHT}
        alone = None
        for each in chunk.answers:
            name = names.setdefault(each.token, len(names))
            seen.append((name, _rounded(each.checks), each.is_doubted))
            alone = each.checks if not each.is_doubted else alone
        is_drawn = alone is not None and chunk.lot(Lot.AUDIT) < terms.audit_share(alone)
        return self._decide(
            tuple(seen),
            tuple([_rounded(each.machine.checks) for each in chunk.running]),
            chunk.attempts,
            is_drawn,
            chunk.is_refereed,
        )

    def _advance(self, chunk: Chunk) -> None:
        decision = self._decision(chunk)
        chunk.needs = decision.missing
        if decision.action == "accept":
            self._accept(chunk, decision)
        else:
            chunk.is_questioned = chunk.state is State.PROVISIONAL
            if decision.action == "referee":
                self._ask_referee(chunk)
        self._world.offer(chunk)

    def _accept(self, chunk: Chunk, decision: Decision) -> None:
        tally, now = self._world.tally, self._world.agenda.now
        group = [chunk.answers[index] for index in decision.group]
        harm = group[0].harm if group else 0.0
        if chunk.state is State.OPEN:
            chunk.state = State.PROVISIONAL
            chunk.decided_at = now
            tally.accepted += 1
            standing = [each.checks for each in group if not each.is_doubted]
            hold = timedelta(0) if chunk.is_refereed else terms.window(standing)
            self._world.settle_at(now + hold.total_seconds(), chunk)
        elif harm != chunk.harm:
            tally.corrected += 1
        chunk.harm, chunk.is_questioned = harm, False
        for each in chunk.answers:
            if each not in group:
                each.sequence = 0
        self._credit(group)
        if chunk.running:
            self._world.cancel(chunk)
            chunk.needs = self._decision(chunk).missing
        if decision.asks_referee:
            self._ask_referee(chunk)

    def _credit(self, group: Sequence[Answer]) -> None:
        """Count each accepted answer, and the checks it passed, once."""
        standing = [each for each in group if not each.is_doubted]
        for each in standing:
            if not each.sequence:
                each.machine.accepted += 1
                each.sequence = each.machine.accepted
                each.machine.checks += each.passed_gold is True
            if len(standing) > 1 and not each.is_credited:
                each.is_credited = True
                each.machine.checks += 1

    def _ask_referee(self, chunk: Chunk) -> None:
        """Let the platform compute the chunk; whoever said something else has his strike."""
        self._world.tally.referee += 1
        self._world.tally.computed += 1
        chunk.is_refereed = True
        wrong = [each for each in chunk.answers if each.token != RIGHT and not each.is_doubted]
        self._keep_apart([each for each in wrong if not each.is_near])
        self._advance(chunk)
        for each in wrong:
            self._accuse(each)

    def _keep_apart(self, wrong: Sequence[Answer]) -> None:
        for each in wrong:
            agreeing = {other.machine for other in wrong if other.token == each.token}
            if len(agreeing) > 1:
                each.machine.apart = (each.machine.apart or set()) | agreeing - {each.machine}

    def _accuse(self, answer: Answer) -> None:
        """Warn a machine that was nearly right, strike one that was not, or was so again."""
        machine = answer.machine
        since = None if machine.near_at is None else machine.accepted - machine.near_at
        is_strike = terms.is_strike(is_near=answer.is_near, answers_since_near=since)
        machine.checks -= terms.lost(machine.checks, is_strike=is_strike)
        if answer.is_near:
            machine.near_at = machine.accepted
        if is_strike:
            self._strike(answer)

    def _strike(self, answer: Answer) -> None:
        """Believe the machine no longer, nor what it said and is not final yet.

        As `strikes`: what it answered before the last strike is part of the same fault.
        """
        machine, now = answer.machine, self._world.agenda.now
        if machine.caught_at is None and machine.cheated_at is not None:
            machine.caught_at, machine.caught_after = now, machine.answered
        if not machine.strikes or _time(answer.at) > machine.strikes[-1].at:
            machine.strikes.append(
                terms.Struck(at=_time(now), answers=machine.accepted, is_near=answer.is_near)
            )
            self._sentence(machine)
        if machine.lives > 0:
            self._return(machine)
        held, machine.held = machine.held, []
        for late in held:
            if late.chunk.state in (State.OPEN, State.PROVISIONAL) and not late.is_doubted:
                late.is_doubted = True
                self._advance(late.chunk)

    def _sentence(self, machine: Machine) -> None:
        now = self._world.agenda.now
        match terms.standing(machine.strikes):
            case "quarantined":
                machine.barred_until = now + terms.QUARANTINE.total_seconds()
            case "banned":
                machine.barred_until = float("inf")
            case _:
                pass

    def _return(self, machine: Machine) -> None:
        """Let the owner come back as somebody new."""
        machine.is_gone = True
        self._world.enlist(
            Machine(
                number=0,
                speed=machine.speed,
                leaves_at=0.0,
                cheat=machine.cheat,
                lives=machine.lives - 1,
            )
        )


def _time(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _rounded(checks: float) -> float:
    """Round many checks down to two digits, so that decisions repeat: never believed more."""
    return checks if checks < 100 else checks // 10 * 10 if checks < 1000 else checks // 100 * 100


def _decider(
    target_error: str,
) -> Callable[[tuple[Seen, ...], tuple[float, ...], int, bool, bool], Decision]:
    """Return the policy for a tier; it is pure, so what was decided once is remembered."""

    @functools.lru_cache(maxsize=2**18)
    def decide(
        seen: tuple[Seen, ...],
        running: tuple[float, ...],
        attempts: int,
        is_drawn: bool,  # noqa: FBT001
        is_refereed: bool,  # noqa: FBT001
    ) -> Decision:
        return acceptance.decide(
            Facts(
                target_error=target_error,
                score_threshold=0.0,
                answers=[
                    Given(answer=token, checks=checks, is_doubted=is_doubted)
                    for token, checks, is_doubted in seen
                ],
                running=running,
                attempts=attempts,
                is_drawn=is_drawn,
                referee=RIGHT if is_refereed else None,
                compare=int.__eq__,
            )
        )

    return decide
