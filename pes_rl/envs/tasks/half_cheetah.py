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

NUM_COORDINATES = 9  # nq = nv


def make(
    *,
    frame_skip: int = 5,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 0.1,
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments."""
    first = 1 if exclude_current_positions_from_observation else 0

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Forward velocity minus the control cost."""
        forward = forward_reward_weight * x_velocity(model, frame_skip, before, data)
        return forward - ctrl_cost_weight * sum_squares(xp, action), never(xp, data)

    return Task(
        name="HalfCheetah",
        gymnasium_id="HalfCheetah-v5",
        model_file="half_cheetah.xml",
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=2 * NUM_COORDINATES - first,
        num_uniforms=NUM_COORDINATES,
        num_normals=NUM_COORDINATES,
        reset=uniform_normal_reset(reset_noise_scale),
        observe=Coordinates(first),
        track=track_x,
        reward=reward,
    )
