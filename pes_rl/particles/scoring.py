"""Score a policy on fresh episodes of a JAX environment, in one compiled function."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.particles.episodes import Episodes, begin, make_step
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine

Array = jax.Array


def make_scorer(
    environment: JaxEnvironment, policy: Policy, seed: int, episodes: int, horizon: int
) -> Callable[[Array, Affine, Array, Array], tuple[Array, Array]]:
    """``(theta [P], affine, update, first) -> (returns [E], lengths [E])`` of E full episodes.

    Start states are keyed by the seed, the update that is scored and the number of the episode,
    which for the first one is ``first``. The policy computes in theta's precision, as it will once
    saved, and every episode stops at its end, at ``horizon`` env steps, or at the step at which the
    simulation broke down, whose return is NaN.
    """
    base = jax.random.fold_in(jax.random.key(seed), streams.EVALUATION)
    step = make_step(environment, policy, environment.action)

    def score(theta: Array, norm: Affine, update: Array, first: Array) -> tuple[Array, Array]:
        weights = policy.unpack(theta)
        numbers = first + jnp.arange(episodes, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(base, update), numbers)

        def unfinished(loop: tuple[Episodes, Array]) -> Array:
            now, _ = loop
            return ~now.ended.all() & (now.length.max() < horizon)

        def body(loop: tuple[Episodes, Array]) -> tuple[Episodes, Array]:
            now, reward = step(weights, norm, loop[0])
            return now, loop[1] + reward

        with jax.default_matmul_precision("highest"):
            start = begin(environment, policy, keys)
            gained = jnp.zeros(episodes, start.observation.dtype)
            last, gained = jax.lax.while_loop(unfinished, body, (start, gained))
        return gained, last.length

    return jax.jit(score)
