"""Score a policy on fresh episodes of a JAX environment, in one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine

Array = jax.Array


class _Episodes(NamedTuple):
    """E episodes, each leaf [E, ...]."""

    environment: Any
    observation: Array
    hidden: Array
    ended: Array
    broken: Array
    gained: Array
    length: Array


def make_scorer(
    environment: JaxEnvironment, policy: Policy, seed: int, episodes: int, horizon: int
) -> Callable[[Array, Affine, Array], tuple[Array, Array]]:
    """``(theta [P], affine, update) -> (returns [E], lengths [E])`` of E full episodes.

    Start states are keyed by the seed, the update that is scored and the episode. The policy
    computes in theta's precision, as it will once saved, and every episode stops at its end, at
    ``horizon`` env steps, or at the step at which the simulation broke down. That one's return is
    NaN.
    """
    base = jax.random.fold_in(jax.random.key(seed), streams.EVALUATION)

    def start(update: Array) -> _Episodes:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(base, update), jnp.arange(episodes)
        )
        state, observation = jax.vmap(environment.reset)(keys)
        zeros = jnp.zeros(episodes, observation.dtype)
        hidden = jnp.zeros((episodes, policy.state_size), observation.dtype)
        length = jnp.zeros(episodes, jnp.int32)
        no = jnp.zeros(episodes, bool)
        return _Episodes(state, observation, hidden, no, no, zeros, length)

    def score(theta: Array, norm: Affine, update: Array) -> tuple[Array, Array]:
        weights = policy.unpack(theta)

        def step(now: _Episodes) -> _Episodes:
            seen = norm.normalize(jnp, now.observation)
            output, hidden = policy.apply(jnp, weights, seen, now.hidden)
            action = environment.action.to_action(jnp, output)
            state, out = jax.vmap(environment.step)(now.environment, action)
            sound = jnp.isfinite(out.reward) & jnp.isfinite(out.observation).all(axis=-1)
            live = ~now.ended
            return _Episodes(
                state,
                out.observation,
                hidden.astype(now.hidden.dtype),
                now.ended | out.terminated.astype(bool) | ~sound,
                now.broken | (live & ~sound),
                now.gained + jnp.where(live & sound, out.reward, 0),
                now.length + live.astype(jnp.int32),
            )

        def unfinished(now: _Episodes) -> Array:
            return ~now.ended.all() & (now.length.max() < horizon)

        with jax.default_matmul_precision("highest"):
            last = jax.lax.while_loop(unfinished, step, start(update))
        return jnp.where(last.broken, jnp.nan, last.gained), last.length

    return jax.jit(score)
