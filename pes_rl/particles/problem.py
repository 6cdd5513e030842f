"""Lift a JAX problem written for one particle to a population of antithetic pairs.

The problem is `pes_rl.problems.Problem`. Both members of a pair get the same keys: common random
numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.estimators.core import Perturbation, Segment, members
from pes_rl.problems.protocol import Carry, Problem, Step, check_problem

__all__ = ["ParticleState", "Problem", "Runner", "Step", "lift", "stream_keys"]

Array = jax.Array


class ParticleState(NamedTuple):
    """Carries of all members [N, 2, ...], their ended flags [N, 2]; number and counters [N]."""

    key: Array
    pair: Array
    carry: Carry
    ended: Array
    episodes: Array
    steps: Array


class Runner(NamedTuple):
    """``init(key, theta) -> state`` and ``unroll(theta, plan, state) -> (segment, state)``."""

    init: Any
    unroll: Any


def stream_keys(key: Array, stream: int, counter: Array, pair: Array | None = None) -> Array:
    """Keys [N] of one stream, by pair and by its counter [N], so placement does not matter.

    ``pair`` holds the pairs' numbers [N]; 0, 1, 2, ... where it is not given.
    """
    if pair is None:
        pair = jnp.arange(counter.size, dtype=jnp.int32)
    base = jax.random.fold_in(jax.random.wrap_key_data(key), stream)
    one = jax.vmap(lambda i, c: jax.random.fold_in(jax.random.fold_in(base, i), c))
    return one(pair, counter)


def lift(problem: Problem, num_pairs: int, segment_length: int, perturb_std: float) -> Runner:
    """Vectorise a problem over N pairs and scan it over segments of K steps.

    A member that terminates is absorbing: its carry stands still and it adds no loss until both
    members of its pair restart. A non-finite loss marks the member invalid and ends it.
    """
    start_all = jax.vmap(jax.vmap(problem.init, (None, 0)), (0, 0))
    advance_all = jax.vmap(jax.vmap(problem.step, (None, 0, 0)), (0, 0, 0))

    def init(key: Any, theta: Array) -> ParticleState:
        check_problem(problem, theta)
        zeros = jnp.zeros(num_pairs, jnp.int32)
        state = ParticleState(
            key=jax.random.key_data(key),
            pair=jnp.arange(num_pairs, dtype=jnp.int32),
            carry=None,
            ended=jnp.zeros((num_pairs, 2), bool),
            episodes=zeros,
            steps=zeros,
        )
        blank = start_all(
            stream_keys(state.key, streams.RESET, zeros, state.pair),
            jnp.broadcast_to(theta, (num_pairs, 2, theta.size)),
        )
        return state._replace(carry=blank)

    def unroll(theta: Array, plan: Perturbation, state: ParticleState):
        particles = members(theta, plan.noise, perturb_std)

        def restarted() -> Carry:
            fresh = start_all(
                stream_keys(state.key, streams.RESET, state.episodes, state.pair), particles
            )
            return _where(plan.restart[:, None], fresh, state.carry)

        # Starting an episode can cost as much as many steps (a network's weights are drawn), and
        # in lock-step most segments start none.
        carry = jax.lax.cond(plan.restart.any(), restarted, lambda: state.carry)
        state = state._replace(
            carry=carry,
            ended=state.ended & ~plan.restart[:, None],
            episodes=state.episodes + plan.restart.astype(jnp.int32),
        )

        def one_step(loop, j):
            state, loss, steps, invalid = loop
            live = ~state.ended & (j < plan.step_limit)[:, None]
            step_keys = stream_keys(state.key, streams.ENVIRONMENT, state.steps, state.pair)
            carry, out = advance_all(step_keys, particles, state.carry)
            bad = live & ~jnp.isfinite(out.loss)
            loss = loss + jnp.where(live & ~bad, out.loss, 0)
            state = state._replace(
                carry=_where(live, carry, state.carry),
                ended=state.ended | (live & out.done) | bad,
                steps=state.steps + 1,
            )
            return (state, loss, steps + live.astype(jnp.int32), invalid | bad), None

        blank = jnp.zeros((num_pairs, 2))
        loop = (state, blank.astype(theta.dtype), blank.astype(jnp.int32), blank.astype(bool))
        loop, _ = jax.lax.scan(one_step, loop, jnp.arange(segment_length, dtype=jnp.int32))
        state, loss, steps, invalid = loop
        return Segment(loss, steps, state.ended, invalid), state

    return Runner(init, unroll)


def _where(mask: Array, new: Any, old: Any) -> Any:
    """Choose between two trees of arrays [N, 2, ...] by a mask [N, 2] or [N, 1]."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(*mask.shape, *(1,) * (a.ndim - 2)), a, b)

    return jax.tree.map(pick, new, old)
