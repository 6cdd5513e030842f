"""The fused loop: perturb, unroll, estimate, step the optimiser, all in one compiled function.

One update is a pure function of one state; many updates are a compiled loop with donated state, and
many seeds are a `jax.vmap` over it. Nothing returns to Python in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.training.descent import descend
from pes_rl.unrolled.method import Method, Metrics

Array = jax.Array


class LoopState(NamedTuple):
    """theta [P], the optimiser's state and the method's state."""

    theta: Array
    optimizer: Any
    method: Any


Update = Callable[[LoopState], tuple[LoopState, Metrics]]


class Loop(NamedTuple):
    """Two pure functions of one seed.

    Attributes:
      init: ``(key, theta) -> LoopState``.
      update: ``(LoopState) -> (LoopState, Metrics)``.
    """

    init: Callable[[Any, Array], LoopState]
    update: Update


class History(NamedTuple):
    """What a minimisation recorded, for S seeds at R + 1 moments, the first one its start.

    Attributes:
      updates: int [R + 1], updates made.
      theta: [S, R + 1, P].
      loss: float64 [S, R + 1], mean loss per step of the particles since the previous moment.
      steps: int64 [S, R + 1], live steps unrolled so far by all particles of a seed.
      invalid: int64 [S], particles that contributed nothing because something was not finite.
    """

    updates: np.ndarray
    theta: np.ndarray
    loss: np.ndarray
    steps: np.ndarray
    invalid: np.ndarray


def make_loop(method: Method, optimizer: optax.GradientTransformation) -> Loop:
    """The update of one seed."""

    def init(key: Any, theta: Array) -> LoopState:
        return LoopState(theta, optimizer.init(theta), method.init(key, theta))

    def update(state: LoopState) -> tuple[LoopState, Metrics]:
        gradient, inner, metrics = method.estimate(state.theta, state.method)
        before, refused = (state.theta, state.optimizer), metrics.refused > 0
        after = descend(optimizer, before, gradient, rate=1.0, refused=refused)
        return LoopState(*after, inner), metrics

    return Loop(init, update)


def minimize(
    method: Method,
    optimizer: optax.GradientTransformation,
    theta: Any,
    seeds: Sequence[int],
    num_updates: int,
    *,
    records: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Minimise an unrolled problem's loss, all seeds at once.

    Args:
      method: gives one gradient per update.
      optimizer: any optax optimiser.
      theta: start [P], or one per seed [S, P].
      seeds: S numbers.
      num_updates: updates of every seed.
      records: moments R at which theta and the losses are kept; at most num_updates.
      progress: called with (updates made, num_updates) at every moment.

    Returns:
      The history. Equal seeds give equal histories, whatever the other seeds and R.
    """
    loop = make_loop(method, optimizer)
    theta = jnp.asarray(theta)
    start = jnp.broadcast_to(theta, (len(seeds), theta.shape[-1]))
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    state = jax.jit(jax.vmap(loop.init))(keys, start)
    advance = jax.jit(jax.vmap(_many(loop.update), (0, None)), donate_argnums=0)
    marks = np.unique(np.linspace(0, num_updates, min(records, num_updates) + 1).astype(int))
    thetas, sums = [np.asarray(start)], []
    for before, after in itertools.pairwise(marks):
        state, totals = advance(state, jnp.int32(after - before))
        thetas.append(np.asarray(state.theta))
        sums.append([np.asarray(total) for total in totals])
        if progress is not None:
            progress(int(after), num_updates)
    loss, steps, invalid, _ = (np.stack(each, axis=1) for each in zip(*sums, strict=True))
    nothing = np.zeros((len(seeds), 1))
    with np.errstate(invalid="ignore"):
        loss = np.concatenate([nothing + np.nan, loss / steps], axis=1, dtype=np.float64)
    steps = np.concatenate([nothing, np.cumsum(steps, axis=1, dtype=np.int64)], axis=1)
    return History(
        marks, np.stack(thetas, axis=1), loss, steps.astype(np.int64), invalid.sum(axis=1)
    )


def _many(update: Update) -> Callable[[LoopState, Array], tuple[LoopState, Metrics]]:
    """``(state, n) -> (state, sums of the metrics)``; n is data, so it compiles once."""

    def many(state: LoopState, n: Array):
        blank = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(update, state)[1]
        )

        def body(_, loop):
            state, sums = loop
            state, metrics = update(state)
            return state, jax.tree.map(jnp.add, sums, metrics)

        return jax.lax.fori_loop(0, n, body, (state, blank))

    return many


def episode_gradients(method: Method, theta: Any, keys: Array, num_updates: int) -> np.ndarray:
    """Gradients [R, P] summed over ``num_updates`` segments at fixed theta, one per key [R].

    With lockstep clocks, no early termination and ``num_updates`` = T / K this is one whole episode
    per particle: what unbiasedness and variance are about.
    """
    return np.asarray(summed_gradients(method)(jnp.asarray(theta), keys, jnp.int32(num_updates)))


def summed_gradients(method: Method) -> Callable[[Array, Array, Array], Array]:
    """``(theta, keys [R], number of updates) -> gradients [R, P]``, compiled for any number."""

    def one(theta: Array, key: Array, num_updates: Array) -> Array:
        def body(_, loop):
            state, total = loop
            gradient, state, _ = method.estimate(theta, state)
            return state, total + gradient

        start = method.init(key, theta), jnp.zeros_like(theta)
        return jax.lax.fori_loop(0, num_updates, body, start)[1]

    return jax.jit(jax.vmap(one, (None, 0, None)))
