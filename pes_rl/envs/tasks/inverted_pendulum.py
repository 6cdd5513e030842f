"""InvertedPendulum: balance a pole on a cart."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import Coordinates, all_finite, track_nothing, uniform_reset


def is_healthy(xp: Any, data: Any) -> Array:
    """Finite state, the pole within 0.2 rad of upright."""
    return all_finite(xp, data) & (xp.abs(data.qpos[..., 1]) <= 0.2)


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """1 while healthy, so 0 on the last step."""
    del model, before, action
    healthy = is_healthy(xp, data)
    return healthy.astype(data.qpos.dtype), ~healthy


def make(*, frame_skip: int = 2, reset_noise_scale: float = 0.01) -> Task:
    """The task with Gymnasium's keyword arguments."""
    return Task(
        name="InvertedPendulum",
        gymnasium_id="InvertedPendulum-v5",
        model_file="inverted_pendulum.xml",
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=4,
        num_uniforms=4,
        num_normals=0,
        reset=uniform_reset(reset_noise_scale),
        observe=Coordinates(first=0),
        track=track_nothing,
        reward=reward,
        is_healthy=is_healthy,
    )
