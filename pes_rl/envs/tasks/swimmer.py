"""Swimmer: three links propel themselves through a viscous fluid."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import (
    Coordinates,
    never,
    sum_squares,
    track_x,
    uniform_reset,
    x_velocity,
)

FRAME_SKIP = 4


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """Forward velocity minus a small control cost."""
    forward = x_velocity(model, FRAME_SKIP, before, data)
    return forward - 1e-4 * sum_squares(xp, action), never(xp, data)


TASK = Task(
    name="Swimmer",
    gymnasium_id="Swimmer-v5",
    model_file="swimmer.xml",
    frame_skip=FRAME_SKIP,
    horizon=1000,
    observation_size=8,
    num_uniforms=10,
    num_normals=0,
    reset=uniform_reset(0.1),
    observe=Coordinates(first=2),
    track=track_x,
    reward=reward,
)
