"""Numbers that outgrow a float32 inside a program: counts of env steps, observation statistics.

Mean and variance are moved towards those of a segment by its share of all observations, which stays
sound in float32 however many there have been: a share too small to matter changes neither of the
two. A saved policy keeps a `pes_rl.policies.Normalizer` in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.policies.normalizer import BOUND, VARIANCE_FLOOR, Affine, Normalizer

Array = jax.Array


class Count(NamedTuple):
    """A count of 64 bits in two uint32, since programs count in 32."""

    high: Array
    low: Array

    @classmethod
    def zero(cls) -> Count:
        """Nothing counted."""
        return cls(jnp.zeros((), jnp.uint32), jnp.zeros((), jnp.uint32))

    def plus(self, number: Array) -> Count:
        """Count ``number`` more, a uint32."""
        low = self.low + number
        return Count(self.high + (low < number).astype(jnp.uint32), low)

    def to_float(self) -> Array:
        """Its value as a float32 (float64 where that is the default)."""
        kind = jnp.result_type(float)
        return self.high.astype(kind) * 2.0**32 + self.low.astype(kind)

    def __int__(self) -> int:
        return (int(self.high) << 32) + int(self.low)


class Statistics(NamedTuple):
    """Number, mean [O] and variance [O] of everything that live particles observed."""

    total: Count
    mean: Array
    variance: Array

    @classmethod
    def empty(cls, observation_size: int) -> Statistics:
        """Statistics of no observation."""
        return cls(Count.zero(), jnp.zeros(observation_size), jnp.zeros(observation_size))

    def merge(self, number: Array, first: Array, second: Array) -> Statistics:
        """Add observations (Chan, Golub and LeVeque 1979).

        Args:
          number: how many, a uint32.
          first: [O] sum of their deviations from ``mean``.
          second: [O] sum of the squares of these deviations.
        """
        new = jnp.maximum(number, 1).astype(first.dtype)
        delta = first / new
        variance = jnp.maximum(second / new - delta**2, 0)
        share = number.astype(first.dtype) / (self.total.to_float().astype(first.dtype) + new)
        mixed = self.variance + share * (variance - self.variance) + share * (1 - share) * delta**2
        return Statistics(self.total.plus(number), self.mean + share * delta, mixed)

    def affine(self) -> Affine:
        """Standardise by these statistics; mean 0 and deviation 1 until there are two of them."""
        known = (self.total.high > 0) | (self.total.low >= 2)
        scale = 1 / jnp.sqrt(jnp.maximum(self.variance, VARIANCE_FLOOR))
        bound = jnp.asarray(BOUND, self.mean.dtype)
        return Affine(jnp.where(known, self.mean, 0), jnp.where(known, scale, 1), bound)

    @classmethod
    def of(cls, normalizer: Normalizer) -> Statistics:
        """What `to_normalizer` made a normaliser of, as NumPy arrays."""
        high, low = divmod(normalizer.total, 2**32)
        total: Any = Count(*np.array([high, low], np.uint32))
        mean: Any = normalizer.mean
        variance: Any = normalizer.m2 / max(normalizer.total, 1)
        return cls(total, mean, variance)

    def to_normalizer(self) -> Normalizer:
        """The same statistics as the host keeps them."""
        total = int(self.total)
        mean, variance = (np.asarray(x, np.float64) for x in (self.mean, self.variance))
        return Normalizer(total, mean, variance * total)
