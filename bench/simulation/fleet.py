"""What the simulated world is made of: machines, chunks, attempts and answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from bench.simulation.cheats import Cheat
from tasks.verification.terms import Struck

#: Pictures of a chunk; a gold picture is one more.
PICTURES = 16
#: The right answer, which the referee always gives.
RIGHT = 0


#: A lot has 32 bits.
_LOT_MASK = 2**32 - 1
_LOT_END = 2.0**32


class Lot(enum.IntEnum):
    """What is by lot, each by its own: its first bit in `Chunk.chance`."""

    AUDIT = 0
    CONCERT = 32
    PICTURE = 64
    GOLD = 96


class State(enum.Enum):
    """As `tasks.models.Chunk.State`."""

    OPEN = 0
    PROVISIONAL = 1
    FINAL = 2
    FAILED = 3


@dataclass(slots=True, eq=False, kw_only=True)
class Machine:
    """A node and its owner, who has no other."""

    number: int
    #: Chunks of one work second it does in a second.
    speed: float
    #: When it goes away next; in the past while it is away.
    leaves_at: float
    cheat: Cheat | None = None
    #: Checks passed since the last strike, and accepted answers: as `tasks.models.Credibility`.
    checks: float = 0.0
    accepted: int = 0
    #: Answers given, right or wrong.
    answered: int = 0
    strikes: list[Struck] = field(default_factory=list)
    #: Accepted answers it had when it was nearly right; None: never.
    near_at: int | None = None
    barred_until: float = 0.0
    #: Whose chunks it is never asked about again.
    apart: set[Machine] | None = None
    #: Answers that may still be doubted.
    held: list[Answer] = field(default_factory=list)
    #: When it cheated first, and how many answers it had given by then and when caught.
    cheated_at: float | None = None
    cheated_from: int = 0
    caught_at: float | None = None
    caught_after: int = 0
    #: Identities that its owner has left to return under.
    lives: int = 0
    is_gone: bool = False


@dataclass(slots=True, eq=False)
class Chunk:
    """Work for one machine at a time."""

    number: int
    #: Seconds at speed 1.
    work: float
    #: 128 bits of chance; see `lot`.
    chance: int
    state: State = State.OPEN
    answers: list[Answer] = field(default_factory=list)
    running: list[Attempt] = field(default_factory=list)
    #: Whoever must not have it again.
    owners: list[Machine] = field(default_factory=list)
    attempts: int = 0
    #: Replicas to be given out now.
    needs: int = 0
    is_ready: bool = False
    has_gold: bool = False
    is_refereed: bool = False
    referee_ran: bool = False
    #: What it was accepted on no longer carries it.
    is_questioned: bool = False
    #: Share of its pictures whose accepted result is wrong.
    harm: float = 0.0
    decided_at: float = 0.0

    def lot(self, what: Lot) -> float:
        """Return this chunk's draw for one of the things that are by lot, 0..1."""
        return (self.chance >> what & _LOT_MASK) / _LOT_END


@dataclass(slots=True, eq=False)
class Attempt:
    """A machine at work on a chunk."""

    chunk: Chunk
    machine: Machine
    started_at: float
    #: Seconds it takes.
    takes: float
    is_hedge: bool
    is_over: bool = False


@dataclass(slots=True, eq=False)
class Answer:
    """What a machine said of a chunk; two answers are the same if their tokens are."""

    chunk: Chunk
    machine: Machine
    token: int
    #: Share of the pictures that are wrong.
    harm: float
    #: Of the machine when it came.
    checks: float
    #: When it came.
    at: float
    passed_gold: bool | None = None
    #: Where it is wrong, it is so within the loose tolerances.
    is_near: bool = False
    is_doubted: bool = False
    is_credited: bool = False
    #: Place among the machine's accepted answers; 0: not accepted.
    sequence: int = 0
