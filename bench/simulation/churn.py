"""When a volunteer's machine is there: on and off in turns, mostly short, sometimes long."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Churn:
    """Weibull on-times and lognormal off-times, in seconds.

    The shapes are those published for SETI@home's hosts (Javadi, Kondo, Vincent, Anderson
    2009/2011: on-times mostly Weibull with a falling hazard, shape about 0.4); the means are
    assumptions: 60 % there, six hours at a time on average, the half of them below 43 minutes.
    """

    on_mean: float = 6 * 3600.0
    on_shape: float = 0.4
    off_mean: float = 4 * 3600.0
    off_sigma: float = 1.5

    @property
    def share_on(self) -> float:
        """Return how probably a machine is there at any time."""
        return self.on_mean / (self.on_mean + self.off_mean)

    def on(self, chance: random.Random) -> float:
        """Return how long a machine stays that has just come."""
        return self._on_scale * chance.weibullvariate(1.0, self.on_shape)

    def off(self, chance: random.Random) -> float:
        """Return how long a machine is away that has just left."""
        return chance.lognormvariate(self._off_mu, self.off_sigma)

    def on_left(self, chance: random.Random) -> float:
        """Return how long a machine still stays that is seen there at any time.

        Long stays are seen more often: the whole stay is drawn by its length, and the look
        falls anywhere in it.
        """
        whole = chance.gammavariate(1 + 1 / self.on_shape, 1.0) ** (1 / self.on_shape)
        return self._on_scale * whole * chance.random()

    def off_left(self, chance: random.Random) -> float:
        """Return how long a machine is still away that is missed at any time."""
        whole = chance.lognormvariate(self._off_mu + self.off_sigma**2, self.off_sigma)
        return whole * chance.random()

    @property
    def _on_scale(self) -> float:
        return self.on_mean / math.gamma(1 + 1 / self.on_shape)

    @property
    def _off_mu(self) -> float:
        return math.log(self.off_mean) - self.off_sigma**2 / 2
