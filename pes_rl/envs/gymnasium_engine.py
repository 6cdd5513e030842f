"""Any Gymnasium environment with Box observations and Box or Discrete actions.

Environments are stepped one by one, live ones only: Gymnasium's vector classes step all of them
and reset on their own, which would waste steps and lose the pairing. Their state is opaque, so a
resumed run restarts every episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from pes_rl.envs.packages import silence_mujoco
from pes_rl.envs.simulator import SingleStep, Transition
from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec


def make_env(gymnasium_id: str, **options: Any) -> gymnasium.Env:
    """``gymnasium.make``; UserError where Gymnasium refuses or lacks a package."""
    silence_mujoco()
    try:
        return gymnasium.make(gymnasium_id, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"cannot make environment {gymnasium_id!r}: {error}") from error


def action_spec(env: gymnasium.Env, name: str) -> ActionSpec:
    """How a policy's output becomes an action of ``env``; UserError for other kinds of spaces."""
    space = env.action_space
    if isinstance(space, Discrete):
        return ActionSpec("discrete", int(space.n), start=int(space.start))
    if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
        return ActionSpec("box", space.low.size, tuple(space.low.flat), tuple(space.high.flat))
    raise UserError(
        f"environment {name!r} has action space {space}; only float Box and Discrete are supported"
    )


def observation_size(env: gymnasium.Env, name: str) -> int:
    """Length of a flattened observation; UserError unless it is a Box, and no picture."""
    space = env.observation_space
    if not isinstance(space, Box):
        raise UserError(
            f"environment {name!r} has observation space {space}; only Box is supported"
        )
    if space.dtype == np.uint8 and len(space.shape) == 3:
        raise UserError(
            f"environment {name!r} observes pixels {space.shape}; policies take vectors, so wrap "
            "it in an environment that observes features"
        )
    return int(np.prod(space.shape))


class GymnasiumSimulator:
    """``num_particles`` instances of one Gymnasium environment, without its time limit."""

    exact = False

    def __init__(self, gymnasium_id: str, num_particles: int):
        # The runner cuts episodes at the horizon, which is a truncation, not a termination.
        self._envs = [make_env(gymnasium_id, max_episode_steps=-1) for _ in range(num_particles)]
        self.observation_size = observation_size(self._envs[0], gymnasium_id)
        self.action = action_spec(self._envs[0], gymnasium_id)
        space = self._envs[0].action_space
        self._shape, self._dtype = space.shape, space.dtype
        self.observation_shape = self._envs[0].observation_space.shape
        self.action_shape = space.shape

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``; observations [R, O]."""
        seeds = [int(rng.integers(2**31 - 1)) for rng in rngs]
        starts = [
            self._envs[row].reset(seed=seed)[0] for row, seed in zip(rows, seeds, strict=True)
        ]
        return self._flat(starts)

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` by one env step."""
        results = [
            self._envs[row].step(self._native(act)) for row, act in zip(rows, action, strict=True)
        ]
        observation = self._flat([r[0] for r in results])
        reward = np.array([r[1] for r in results], np.float64)
        # Any end that is not the time limit we removed is the environment's own.
        over = np.array([bool(r[2] or r[3]) for r in results])
        finite = np.isfinite(observation).all(axis=1) & np.isfinite(reward)
        return Transition(observation, np.where(finite, reward, 0), over, ~finite)

    def _native(self, action: np.ndarray) -> Any:
        if self.action.kind == "discrete":
            return int(action)
        return np.asarray(action, self._dtype).reshape(self._shape)

    def _flat(self, observations: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(observations).reshape(len(observations), -1).astype(np.float64)

    def stretch(self, rows: np.ndarray, length: int) -> SingleStep:
        """One step: an environment that has ended cannot be stepped on."""
        del length
        return SingleStep(self, rows)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: a Gymnasium environment does not tell its state."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to restore."""
        del state
