"""What every value baseline is: three pure functions, as an optimiser is two.

A baseline guesses the discounted loss that a particle has before it (minus the return to go, which
reinforcement learning calls its value) from a normalised observation. It is frozen while a segment
runs and learns from it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array


class Samples(NamedTuple):
    """What one segment teaches: S observations of each of R particles, and what came after them.

    Attributes:
      inputs: [R, S, O] normalised observations.
      loss: [R, S] discounted loss from there to the segment's end.
      discount: [R, S] what the value at the segment's end counts from there; 0 where the particle's
        episode is over.
      last: [R, O] normalised observation at the segment's end.
      weight: [R, S] 1 where the particle lived to see the observation, else 0.
    """

    inputs: Array
    loss: Array
    discount: Array
    last: Array
    weight: Array


class Baseline(NamedTuple):
    """A triple of pure functions.

    Attributes:
      init: ``(key, observation size, dtype) -> state``.
      value: ``(state, inputs [..., O]) -> [...]``, the loss to go.
      learn: ``(state, samples) -> state``.
      workspace: ``(observation size) -> numbers`` that it needs for each sample while it learns.
    """

    init: Callable[[Array, int, Any], Any]
    value: Callable[[Any, Array], Array]
    learn: Callable[[Any, Samples], Any]
    workspace: Callable[[int], int]
