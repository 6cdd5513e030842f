"""When episodes begin and are cut: the clocks of pairs and of single particles.

A clock counts env steps since its episode began and moves a segment of K steps at a time. Staggered
first episodes spread the clocks over the horizon T; afterwards every episode may last T steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams

Array = jax.Array
_FOREVER = jnp.iinfo(jnp.int32).max


class Clocks(NamedTuple):
    """Where N episodes stand.

    Attributes:
      clock: int32 [N], env steps since the episode began; 0 asks for a restart.
      limit: int32 [N], clock at which the present episode is cut.
    """

    clock: Array
    limit: Array


def episode_length(segment_length: int, horizon: int | None) -> int:
    """Env steps that a full episode may last; without end where the horizon is None.

    Raises:
      ValueError: the segment does not fit the horizon.
    """
    length = _FOREVER if horizon is None else horizon
    if not 0 < segment_length <= length:
        raise ValueError(f"segment_length must be in 1..{horizon}, not {segment_length}")
    return length


def first_clocks(
    key: Array, number: int, segment_length: int, horizon: int | None, staggered: bool
) -> Clocks:
    """Clocks before the first episodes, which are shortened where they are to be staggered.

    Staggered limits are stratified multiples of the segment length in a random order: cuts like any
    other, so no burn-in is needed.
    """
    clock = jnp.zeros(number, jnp.int32)
    if not staggered or horizon is None:
        return Clocks(clock, jnp.full(number, episode_length(segment_length, horizon), jnp.int32))
    segments = -(-horizon // segment_length)
    strata = (jnp.arange(number, dtype=jnp.int32) * segments) // number + 1
    order = jax.random.permutation(jax.random.fold_in(key, streams.STAGGER), strata)
    return Clocks(clock, jnp.minimum(order * segment_length, horizon))


def step_limit(clocks: Clocks, segment_length: int) -> Array:
    """Env steps [N] of the next segment: shorter where the episode is cut before its end."""
    return jnp.minimum(segment_length, clocks.limit - clocks.clock).astype(jnp.int32)


def advance(clocks: Clocks, segment_length: int, horizon: int | None, over: Array) -> Clocks:
    """The clocks after one segment; those whose episode is ``over`` [N], or cut, restart."""
    clock = clocks.clock + step_limit(clocks, segment_length)
    over = over | (clock >= clocks.limit)
    limit = jnp.where(over, episode_length(segment_length, horizon), clocks.limit)
    return Clocks(jnp.where(over, 0, clock), limit.astype(jnp.int32))
