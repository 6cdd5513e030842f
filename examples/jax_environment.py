"""An environment of one's own in JAX: swing a pendulum up and hold it there.

    cd examples
    pes-rl train --env jax_environment:make --num-env-steps 2e7

`pes_rl.envs.jax_environment` says what the two functions have to do.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.policies.action import ActionSpec

DT, GRAVITY, TORQUE = 0.05, 10.0, 2.0


class Pendulum(NamedTuple):
    """All that the next step depends on: the angle from upright, and its velocity."""

    angle: jax.Array
    speed: jax.Array


def observe(state: Pendulum) -> jax.Array:
    """What the policy sees, [3]."""
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed / 8])


def reset(key: jax.Array) -> tuple[Pendulum, jax.Array]:
    """Hanging down, and nearly at rest."""
    state = Pendulum(jnp.pi + 0.1 * jax.random.normal(key), jnp.zeros(()))
    return state, observe(state)


def step(state: Pendulum, action: jax.Array) -> tuple[Pendulum, JaxTransition]:
    """Turn by a torque; upright, at rest and without effort is best. It never ends by itself."""
    push = 3.0 * TORQUE * action[0] + 1.5 * GRAVITY * jnp.sin(state.angle)
    speed = jnp.clip(state.speed + DT * push, -8.0, 8.0)
    state = Pendulum(state.angle + DT * speed, speed)
    reward = jnp.cos(state.angle) - 0.01 * speed**2 - 0.01 * action[0] ** 2
    return state, JaxTransition(observe(state), reward, jnp.array(False))


def make() -> JaxEnvironment:
    """One action in [-1, 1], 200 env steps an episode."""
    return JaxEnvironment(reset, step, 3, ActionSpec("box", 1, (-1.0,), (1.0,)), horizon=200)
