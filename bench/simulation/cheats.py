"""How machines cheat. A cheat knows everything but which picture is gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cheat:
    """One way of giving wrong answers.

    Those who cheat in concert choose the same chunks and give the same wrong answers.
    """

    name: str
    #: Share of chunks answered wrongly, once it has begun.
    rate: float
    is_in_concert: bool = False
    #: Answers given honestly before the first wrong one.
    sleeps: int = 0
    #: Wrong on one picture of each chunk only, and so on the gold one hardly ever.
    is_one_picture: bool = False
    #: Wrong only where an accomplice answers the same chunk.
    is_paired: bool = False
    #: What it says wrongly lies within the loose tolerances: a cheaper model, say.
    is_near: bool = False
    #: Times its owner returns as somebody new after being caught.
    returns: int = 0


RANDOM = Cheat(name="random", rate=1.0)
RARE = Cheat(name="rare", rate=0.02, is_in_concert=True)
COLLUDING = Cheat(name="colluding", rate=0.1, is_in_concert=True)
SLEEPERS = Cheat(name="sleepers", rate=0.3, is_in_concert=True, sleeps=100)
RETURNING = Cheat(name="returning", rate=0.3, is_in_concert=True, sleeps=100, returns=3)
ONE_PICTURE = Cheat(name="one picture", rate=0.3, is_in_concert=True, is_one_picture=True)
PAIRED = Cheat(name="paired", rate=1.0, is_in_concert=True, sleeps=100, is_paired=True)
PAIRED_PICTURE = Cheat(
    name="paired, one picture",
    rate=1.0,
    is_in_concert=True,
    sleeps=100,
    is_paired=True,
    is_one_picture=True,
)
APPROXIMATE = Cheat(name="approximate", rate=0.3, is_in_concert=True, sleeps=100, is_near=True)
ALL: Sequence[Cheat] = (
    RANDOM,
    RARE,
    COLLUDING,
    SLEEPERS,
    RETURNING,
    ONE_PICTURE,
    PAIRED,
    PAIRED_PICTURE,
    APPROXIMATE,
)
