"""Observation normaliser: mean and variance of everything that live particles observed.

Training moves its statistics between segments (`pes_rl.particles.statistics`); this is the form in
which a saved policy keeps them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

BOUND = 10.0
VARIANCE_FLOOR = 1e-8


class Affine(NamedTuple):
    """What is done to an observation: ``clip((obs - shift) * scale, -bound, bound)``.

    ``shift`` and ``scale`` are [O], arrays of NumPy or of JAX.
    """

    shift: Any
    scale: Any
    bound: Any

    def normalize(self, xp: Any, observation: Any) -> Any:
        """Policy inputs [..., O] of observations [..., O], arrays of the namespace ``xp``."""
        return xp.clip((observation - self.shift) * self.scale, -self.bound, self.bound)

    @classmethod
    def identity(cls, observation_size: int) -> Affine:
        """Leaves observations as they are: normalisation switched off."""
        return cls(np.zeros(observation_size), np.ones(observation_size), np.inf)


class Normalizer(NamedTuple):
    """Statistics of a set of observations, in float64.

    Attributes:
      total: number of observations.
      mean: their mean [O].
      m2: sum of their squared deviations from it [O].
    """

    total: int
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls, observation_size: int) -> Normalizer:
        """Statistics of no observation."""
        return cls(0, np.zeros(observation_size), np.zeros(observation_size))

    def affine(self) -> Affine:
        """Standardise by these statistics; mean 0 and deviation 1 until there are two of them."""
        if self.total < 2:
            return Affine.identity(len(self.mean))._replace(bound=BOUND)
        variance = np.maximum(self.m2 / self.total, VARIANCE_FLOOR)
        return Affine(self.mean.copy(), 1.0 / np.sqrt(variance), BOUND)
