"""A point mass in JAX: deterministic, cheap, and it terminates where the action pushes it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.config import build_config
from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.policies.action import ActionSpec

DT = 0.1
PAIRS, K, T = 6, 7, 33  # K does not divide T
RATE = 2.0**-4
SHIFT = 0.25


class PointMass(NamedTuple):
    """Position and velocity, scalars."""

    x: jax.Array
    v: jax.Array


def point_mass(bound: float = 1.0, start: float = 0.1) -> JaxEnvironment:
    """Push a unit mass along a line; the episode ends once ``|x| >= bound``.

    The start is uniform within ``start`` of the origin. With ``bound`` infinite it never ends.
    """

    def observe(state: PointMass) -> jax.Array:
        return jnp.stack((state.x, state.v, jnp.ones_like(state.x)))

    def reset(key):
        x, v = jax.random.uniform(key, (2,), minval=-start, maxval=start)
        state = PointMass(x, v)
        return state, observe(state)

    def step(state, action):
        v = state.v + DT * action[0]
        x = state.x + DT * v
        state = PointMass(x, v)
        reward = 1.0 + v - 0.1 * action[0] ** 2
        return state, JaxTransition(observe(state), reward, jnp.abs(x) >= bound)

    return JaxEnvironment(reset, step, 3, ActionSpec("box", 1, (-1.0,), (1.0,)))


def configure(estimator: str = "es-single", **fields):
    """A small configuration of the toy environment, under the name of a registered one."""
    wanted = {
        "env": "HalfCheetah",
        "estimator": estimator,
        "num_pairs": PAIRS,
        "perturb_std": 1.0,
        "horizon": T,
        "learning_rate": RATE,
        "optimizer": "sgd",
        "shaping": "none",
        "num_top_pairs": None,
        "learning_rate_schedule": "constant",
        "momentum": 0.0,
        "reward_shift": SHIFT,
        "policy": "linear",
        "eval_every": 1,  # one update per advance
    }
    if estimator != "es":
        wanted["segment_length"] = K
    if estimator == "gpes":
        wanted["noise_period"] = 2 * K
    return build_config(wanted | fields)
