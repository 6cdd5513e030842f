"""A point mass in JAX: deterministic, cheap, and it terminates where the action pushes it.

With its twin in NumPy, for trainers whose particles are on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.config import build_config
from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.envs.simulator import SingleStep, Transition
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.observation import array_of

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


class PointMassSimulator:
    """The NumPy twin of `point_mass`: ``num_particles`` of them, as a `Simulator`.

    ``breaks`` is the speed to the left at which a simulation breaks down; its numbers are then NaN.
    """

    breaks = np.inf
    observation, observation_size, exact = array_of((3,)), 3, True
    action, action_shape = ActionSpec("box", 1, (-1.0,), (1.0,)), (1,)
    remarks = ()

    def __init__(self, num_particles: int, bound: float = 1.0, start: float = 0.1):
        self.bound, self.start = bound, start
        self.x, self.v = np.zeros(num_particles), np.zeros(num_particles)

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start in ``rows`` [R] at `first_point`, one generator each; observations [R, 3]."""
        self.x[rows], self.v[rows] = np.transpose([first_point(rng, self.start) for rng in rngs])
        return self._observe(rows)

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` [R] by one env step with actions [R, 1]."""
        force = action[:, 0].astype(np.float64)
        self.v[rows] += DT * force
        self.x[rows] += DT * self.v[rows]
        observation, reward = self._observe(rows), 1.0 + self.v[rows] - 0.1 * force**2
        unstable = self.v[rows] <= -self.breaks
        observation[unstable], reward[unstable] = np.nan, np.nan
        return Transition(observation, reward, np.abs(self.x[rows]) >= self.bound, unstable)

    def stretch(self, rows: np.ndarray, length: int) -> SingleStep:
        """One env step."""
        return SingleStep(self, rows)

    def state(self) -> dict[str, np.ndarray]:
        """Copies of positions and velocities, [n] each."""
        return {"x": self.x.copy(), "v": self.v.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.x[:], self.v[:] = state["x"], state["v"]

    def close(self) -> None:
        """There is nothing to give back."""

    def _observe(self, rows: np.ndarray) -> np.ndarray:
        return np.stack((self.x[rows], self.v[rows], np.ones(len(rows))), axis=1)


def first_point(rng: np.random.Generator, start: float = 0.1) -> np.ndarray:
    """Position and velocity [2] at which an episode begins, uniform within ``start`` of 0."""
    return rng.uniform(-start, start, 2)


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
        "average_episodes": None,
        "reward_shift": SHIFT,
        "policy": "linear",
        "eval_every": 1,  # one update per advance
        "log_every": 1,
    }
    if estimator != "es":
        wanted["segment_length"] = K
    if estimator in ("pes", "gpes"):
        wanted |= {"discount": 1.0, "trace_decay": 1.0, "baseline": "none"}
    if estimator == "gpes":
        wanted["noise_period"] = 2 * K
    return build_config(wanted | fields)
