"""Observation normaliser: running mean and variance of everything live particles observed.

Statistics are merged in float64 with Chan, Golub and LeVeque's (1979) pairwise update, between
segments only; within a segment they are frozen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLIP = 10.0
_VARIANCE_FLOOR = 1e-8


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

    def merge(self, other: Normalizer) -> Normalizer:
        """Statistics of the union of both sets of observations."""
        total = self.total + other.total
        if other.total == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.total / total)
        m2 = self.m2 + other.m2 + delta**2 * (self.total * other.total / total)
        return Normalizer(total, mean, m2)

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """``(shift, scale)``, both [O], with ``x = clip((obs - shift) * scale, -10, 10)``.

        The identity until two observations have been seen.
        """
        if self.total < 2:
            return np.zeros_like(self.mean), np.ones_like(self.mean)
        variance = np.maximum(self.m2 / self.total, _VARIANCE_FLOOR)
        return self.mean.copy(), 1.0 / np.sqrt(variance)
