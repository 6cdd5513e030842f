"""Walker2d: walk forward on two legs in the plane without falling."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import Range, between
from pes_rl.envs.tasks.planar_walker import Healthy, planar_walker


def healthy_within(heights: Range, angles: Range) -> Healthy:
    """Torso in ``heights`` [m] and ``angles`` [rad]."""
    in_heights, in_angles = between(*heights), between(*angles)

    def is_healthy(xp: Any, data: Any) -> Array:
        return in_heights(xp, data.qpos[..., 1]) & in_angles(xp, data.qpos[..., 2])

    return is_healthy


def make(
    *,
    frame_skip: int = 4,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 1e-3,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (0.8, 2.0),
    healthy_angle_range: Range = (-1.0, 1.0),
    reset_noise_scale: float = 5e-3,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments."""
    return planar_walker(
        "Walker2d",
        "walker2d_v5.xml",
        num_coordinates=9,
        is_healthy=healthy_within(healthy_z_range, healthy_angle_range),
        frame_skip=frame_skip,
        forward_reward_weight=forward_reward_weight,
        ctrl_cost_weight=ctrl_cost_weight,
        healthy_reward=healthy_reward,
        terminate_when_unhealthy=terminate_when_unhealthy,
        reset_noise_scale=reset_noise_scale,
        exclude_current_positions_from_observation=exclude_current_positions_from_observation,
    )
