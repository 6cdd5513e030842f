"""Hopper: hop forward on one leg without falling."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import Range, between
from pes_rl.envs.tasks.planar_walker import Healthy, planar_walker


def healthy_within(states: Range, heights: Range, angles: Range) -> Healthy:
    """Torso in ``heights`` [m] and ``angles`` [rad], other coordinates and speeds in ``states``."""
    in_states, in_heights, in_angles = between(*states), between(*heights), between(*angles)

    def is_healthy(xp: Any, data: Any) -> Array:
        qpos = data.qpos
        upright = in_heights(xp, qpos[..., 1]) & in_angles(xp, qpos[..., 2])
        bounded = in_states(xp, qpos[..., 2:]).all(-1)  # the torso's angle too, as in Gymnasium
        return upright & bounded & in_states(xp, data.qvel).all(-1)

    return is_healthy


def make(
    *,
    frame_skip: int = 4,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 1e-3,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_state_range: Range = (-100.0, 100.0),
    healthy_z_range: Range = (0.7, math.inf),
    healthy_angle_range: Range = (-0.2, 0.2),
    reset_noise_scale: float = 5e-3,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments."""
    return planar_walker(
        "Hopper",
        "hopper.xml",
        num_coordinates=6,
        is_healthy=healthy_within(healthy_state_range, healthy_z_range, healthy_angle_range),
        frame_skip=frame_skip,
        forward_reward_weight=forward_reward_weight,
        ctrl_cost_weight=ctrl_cost_weight,
        healthy_reward=healthy_reward,
        terminate_when_unhealthy=terminate_when_unhealthy,
        reset_noise_scale=reset_noise_scale,
        exclude_current_positions_from_observation=exclude_current_positions_from_observation,
    )
