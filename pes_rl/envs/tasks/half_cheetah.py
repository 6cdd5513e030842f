"""HalfCheetah: run forward in the plane. Falling over does not end the episode."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import (
    Coordinates,
    never,
    sum_squares,
    track_x,
    uniform_normal_reset,
    x_velocity,
)

FRAME_SKIP = 5


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """Forward velocity minus the control cost."""
    forward = x_velocity(model, FRAME_SKIP, before, data)
    return forward - 0.1 * sum_squares(xp, action), never(xp, data)


TASK = Task(
    name="HalfCheetah",
    gymnasium_id="HalfCheetah-v5",
    model_file="half_cheetah.xml",
    frame_skip=FRAME_SKIP,
    horizon=1000,
    observation_size=17,
    num_uniforms=9,
    num_normals=9,
    reset=uniform_normal_reset(0.1),
    observe=Coordinates(first=1),
    track=track_x,
    reward=reward,
)
