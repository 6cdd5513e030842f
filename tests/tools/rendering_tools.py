"""Saved policies, and an environment that only draws pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from pes_rl.policies import make_policy
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.policy import save_policy

SIZES = {  # observation, action
    "HalfCheetah-v5": (17, 6),
    "Hopper-v5": (11, 3),
    "Swimmer-v5": (8, 2),
    "Ant-v5": (105, 8),
    "Reacher-v5": (10, 2),
    "InvertedPendulum-v5": (4, 1),
}
DOTS = "PesRlDots-v0"


def save(folder: Path, gymnasium_id: str, horizon: int = 1000, scale: float = 0.3) -> Path:
    """A policy folder with random linear weights."""
    observation, action = SIZES[gymnasium_id]
    policy = make_policy("linear", observation, action, ())
    theta = scale * np.random.default_rng(0).standard_normal(policy.num_params)
    spec = ActionSpec("box", action, (-1.0,) * action, (1.0,) * action)
    return _save(folder, policy, theta, spec, gymnasium_id, horizon)


def save_dots(folder: Path, horizon: int = 12) -> Path:
    policy = make_policy("linear", 1, 2, ())
    theta = np.zeros(policy.num_params)
    return _save(folder, policy, theta, ActionSpec("discrete", 2), DOTS, horizon)


def _save(folder: Path, policy, theta, spec, gymnasium_id: str, horizon: int) -> Path:
    environment = {
        "name": gymnasium_id.partition("-")[0],
        "gymnasium_id": gymnasium_id,
        "engine": "mujoco",
        "horizon": horizon,
        "kwargs": {"max_episode_steps": horizon},
    }
    save_policy(folder, policy, theta, None, spec, environment, {"env_steps": 1234})
    return folder


class Dots(gymnasium.Env):
    """Draws one brighter column a step; has no MuJoCo model."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(0, 1e3, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    size = (31, 45)  # odd on purpose

    def __init__(self, render_mode: str | None = None):
        self.render_mode, self.step_count = render_mode, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.step_count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_count += 1
        return np.full(1, self.step_count, np.float32), 0.5, False, False, {}

    def render(self):
        image = np.full((*self.size, 3), 40, np.uint8)
        image[:, : 3 * self.step_count] = 200
        return image
