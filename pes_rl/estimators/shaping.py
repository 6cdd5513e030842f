"""Shaping: how the members' segment losses become the differences that weigh the noise.

Every kind but ``none`` changes the estimator: dividing by a standard deviation of the same losses
(as ARS does) rescales the gradient, ranks replace the objective. Statistics cover the members that
were live at the start of the segment.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Kind = Literal["none", "running-std", "std", "centered-rank"]

_SMALLEST_STD = 1e-8  # relative to max(1, mean |loss|)
_DECAY = 0.95


class RunningScale(NamedTuple):
    """Exponential average over updates of the variance of segment losses, and its total weight."""

    variance: Array
    weight: Array

    @classmethod
    def empty(cls) -> RunningScale:
        """No update seen yet."""
        return cls(jnp.zeros(()), jnp.zeros(()))


class Shaping(NamedTuple):
    """A kind of shaping, optionally after keeping only the best pairs.

    Attributes:
      kind: ``none``; ``std`` divides by the population standard deviation of the update's segment
        losses (ARS V1); ``running-std`` by the root of an exponential average of that variance;
        ``centered-rank`` replaces losses by ranks in [-1/2, 1/2], ties averaged.
      num_top_pairs: keep this many pairs, those whose better member has the lowest loss (ARS
        V1-t), and take statistics and the average over them alone; None keeps all.
    """

    kind: Kind = "none"
    num_top_pairs: int | None = None

    def differences(
        self, loss: Array, live: Array, scale: RunningScale
    ) -> tuple[Array, int, RunningScale, Array]:
        """Shaped loss differences of the pairs.

        Args:
          loss: [N, 2] segment losses.
          live: bool [N, 2], members that count.
          scale: running scale of the earlier updates.

        Returns:
          ``(delta [N], count, scale, zero)``: the differences L+ - L- after shaping, the number of
          pairs to average over, the new running scale, and whether losses were too equal to be
          divided by their deviation (then delta is 0).
        """
        count = loss.shape[0]
        loss = jnp.where(live, loss, 0)
        if self.num_top_pairs is not None:
            count = min(count, self.num_top_pairs)
            live = live & _best_pairs(loss, live, count)[:, None]
            loss = jnp.where(live, loss, 0)
        if self.kind == "centered-rank":
            loss = _centered_ranks(loss, live)
        delta = loss[:, 0] - loss[:, 1]
        if self.kind in ("none", "centered-rank"):
            return delta, count, scale, jnp.zeros((), bool)
        variance, smallest = _variance(loss, live)
        if self.kind == "running-std":
            seen = live.any()
            decay = jnp.where(seen, _DECAY, 1.0)
            scale = RunningScale(
                decay * scale.variance + (1 - decay) * variance,
                decay * scale.weight + (1 - decay),
            )
            variance = scale.variance / jnp.maximum(scale.weight, 1e-12)
        std = jnp.sqrt(variance)
        zero = std < smallest
        return jnp.where(zero, 0, delta / jnp.where(zero, 1, std)), count, scale, zero


UNSHAPED = Shaping()


def _variance(loss: Array, live: Array) -> tuple[Array, Array]:
    """Population variance of the live losses, and the smallest deviation worth dividing by."""
    number = jnp.maximum(live.sum(), 1)
    mean = loss.sum() / number
    variance = jnp.where(live, (loss - mean) ** 2, 0).sum() / number
    return variance, _SMALLEST_STD * jnp.maximum(1.0, jnp.abs(loss).sum() / number)


def _best_pairs(loss: Array, live: Array, count: int) -> Array:
    """Mask [N] of the pairs whose better live member has the lowest loss."""
    score = jnp.where(live, loss, jnp.inf).min(axis=1)
    order = jnp.argsort(score, stable=True)
    return jnp.zeros(score.shape, bool).at[order[:count]].set(True)


def _centered_ranks(loss: Array, live: Array) -> Array:
    """Ranks of the live losses scaled to [-1/2, 1/2], ties averaged; 0 for the others."""
    ordered = jnp.sort(jnp.where(live, loss, jnp.inf).ravel())
    below = jnp.searchsorted(ordered, loss, side="left")
    up_to = jnp.searchsorted(ordered, loss, side="right")
    rank = 0.5 * (below + up_to - 1)
    return jnp.where(live, rank / jnp.maximum(live.sum() - 1, 1) - 0.5, 0) * (live.sum() > 1)
