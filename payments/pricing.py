"""The published price list, and the price of a job fixed before it runs.

Price = images x replicas x reward x (1 + fee), the most a job costs: each picture by as many
nodes as it takes when nobody knows them. It is held, and what better known nodes make
unnecessary returns. Replicas beyond those quoted, after a disagreement, are the platform's
risk and paid from its own reserve.
Every figure is per image, so the parts of any cut into chunks sum to the price exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["detect", "classify"]

#: What one replica of one image earns its operator, in minor units.
REWARD_MINOR_PER_IMAGE = MappingProxyType[Kind, int]({"detect": 50_000, "classify": 20_000})

#: The platform's fee on top of every reward; each reward above is a multiple of 100 / fee.
FEE_PERCENT = 10

LABELS = MappingProxyType[Kind, str]({"detect": "Detection", "classify": "Classification"})

IMAGES_MAX = 10_000_000
QUORUM_MAX = 100


class NotPriced(ValueError):
    """The price list does not cover this amount of work."""


@dataclass(frozen=True, kw_only=True)
class PriceLine:
    """One line of a quote: `amount_minor` is `quantity` times `unit_minor`."""

    label: str
    quantity: int
    unit_minor: int

    @property
    def amount_minor(self) -> int:
        """What the line adds to the price."""
        return self.quantity * self.unit_minor


@dataclass(frozen=True, kw_only=True)
class Price:
    """A quote; it stays as it is when the price list changes later."""

    lines: tuple[PriceLine, ...]

    @property
    def price_minor(self) -> int:
        """What the client pays when every replica quoted is accepted."""
        return sum(line.amount_minor for line in self.lines)

    @property
    def hold_minor(self) -> int:
        """What is set aside before the job runs."""
        return self.price_minor


def price_images(*, kind: Kind, images: int, quorum: int) -> Price:
    """Price `images` pictures, each computed by `quorum` paid replicas.

    In race mode `quorum` is the number of nodes that race: all of them are paid.

    Raises:
        NotPriced: no images or replicas, or more than `IMAGES_MAX` or `QUORUM_MAX`.
    """
    if not (0 < images <= IMAGES_MAX and 0 < quorum <= QUORUM_MAX):
        raise NotPriced(f"cannot price {images} images by {quorum} replicas")
    work = PriceLine(
        label=f"{LABELS[kind]}, each image by at most {quorum} nodes"
        if quorum > 1
        else LABELS[kind],
        quantity=images * quorum,
        unit_minor=reward_minor(kind=kind, images=1),
    )
    fee = PriceLine(
        label=f"Platform fee, {FEE_PERCENT} %",
        quantity=images * quorum,
        unit_minor=fee_minor(kind=kind, images=1),
    )
    return Price(lines=(work, fee))


def reward_minor(*, kind: Kind, images: int) -> int:
    """Return what one accepted replica of a chunk of `images` earns its operator."""
    return images * REWARD_MINOR_PER_IMAGE[kind]


def fee_minor(*, kind: Kind, images: int) -> int:
    """Return the platform's fee for one accepted replica of a chunk of `images`."""
    return reward_minor(kind=kind, images=images) * FEE_PERCENT // 100
