"""Humanoid: walk forward on two legs in three dimensions without falling."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks import humanoid_body as body
from pes_rl.envs.tasks.common import Range, between, env_step_seconds, never


def centre_of_mass_x(model: Any, data: Any) -> Array:
    """x of the centre of mass [...] [m]; from xipos, which is one substep behind qpos."""
    mass = model.body_mass
    return (data.xipos[..., 0] * mass).sum(-1) / mass.sum()


def track(xp: Any, model: Any, data: Any) -> Array:
    """x of the centre of mass [..., 1] [m]."""
    del xp
    return centre_of_mass_x(model, data)[..., None]


def make(
    *,
    frame_skip: int = 5,
    forward_reward_weight: float = 1.25,
    ctrl_cost_weight: float = 0.1,
    contact_cost_weight: float = 5e-7,
    contact_cost_range: Range = (-math.inf, 10.0),
    healthy_reward: float = 5.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (1.0, 2.0),
    reset_noise_scale: float = 0.01,
    exclude_current_positions_from_observation: bool = True,
    include_cinert_in_observation: bool = True,
    include_cvel_in_observation: bool = True,
    include_qfrc_actuator_in_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments."""
    in_heights = between(*healthy_z_range)
    effort = body.effort(ctrl_cost_weight, contact_cost_weight, contact_cost_range)

    def is_healthy(xp: Any, data: Any) -> Array:
        """Torso at a height of ``healthy_z_range`` [m]."""
        return in_heights(xp, data.qpos[..., 2])

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Forward velocity, plus a constant while standing, minus control and contact costs."""
        healthy = is_healthy(xp, data)
        step_length = centre_of_mass_x(model, data) - before[..., 0]
        forward = forward_reward_weight * (step_length / env_step_seconds(model, frame_skip))
        ended = ~healthy if terminate_when_unhealthy else never(xp, data)
        return forward + healthy_reward * healthy - effort(xp, data, action), ended

    return body.humanoid_task(
        "Humanoid",
        "humanoid.xml",
        frame_skip=frame_skip,
        reset_noise_scale=reset_noise_scale,
        observe=body.observation(
            exclude_current_positions_from_observation,
            cinert=include_cinert_in_observation,
            cvel=include_cvel_in_observation,
            qfrc_actuator=include_qfrc_actuator_in_observation,
            cfrc_ext=include_cfrc_ext_in_observation,
        ),
        track=track,
        reward=reward,
        rewarded=("xipos", "cfrc_ext") if contact_cost_weight else ("xipos",),
        is_healthy=is_healthy if terminate_when_unhealthy else None,
    )
