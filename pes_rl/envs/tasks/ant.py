"""Ant: four legs run forward; it may land on its back, but not jump out of its height range."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import (
    Coordinates,
    Range,
    all_finite,
    clip,
    env_step_seconds,
    never,
    sum_squares,
    uniform_normal_reset,
)

NUM_POSITIONS, NUM_VELOCITIES = 15, 14
# By index; the four lower legs have no name.
BODIES = (
    *("world", "torso"),
    *("front_left_leg", "aux_1", "", "front_right_leg", "aux_2", ""),
    *("back_leg", "aux_3", "", "right_back_leg", "aux_4", ""),
)


def make(
    *,
    frame_skip: int = 5,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 0.5,
    contact_cost_weight: float = 5e-4,
    healthy_reward: float = 1.0,
    main_body: int | str = 1,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (0.2, 1.0),
    contact_force_range: Range = (-1.0, 1.0),
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments; ``main_body`` is an index or name of BODIES."""
    body = BODIES.index(main_body) if isinstance(main_body, str) else main_body
    lowest, highest = healthy_z_range
    first = 2 if exclude_current_positions_from_observation else 0
    has_forces = include_cfrc_ext_in_observation or contact_cost_weight != 0.0

    def contact_forces(xp: Any, data: Any) -> Array:
        """External forces on all 14 bodies, each component limited, flattened to [..., 84]."""
        flat = data.cfrc_ext.reshape(*data.cfrc_ext.shape[:-2], -1)
        return clip(xp, flat, *contact_force_range)

    def is_healthy(xp: Any, data: Any) -> Array:
        """Finite state and torso at a height of ``healthy_z_range`` [m], bounds included."""
        height = data.qpos[..., 2]
        return all_finite(xp, data) & (height >= lowest) & (height <= highest)

    def observe(xp: Any, model: Any, data: Any) -> Array:
        """Positions from ``first`` on, velocities (14) and contact forces but the world's (78)."""
        del model
        forces = contact_forces(xp, data)[..., 6:]
        return xp.concatenate((data.qpos[..., first:], data.qvel, forces), axis=-1)

    def track(xp: Any, model: Any, data: Any) -> Array:
        """The main body frame's x [..., 1] [m], which MuJoCo leaves one substep behind qpos."""
        del model
        return xp.array(data.xpos[..., body, :1])

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Forward velocity, plus a constant while healthy, minus control cost and contact cost."""
        healthy = is_healthy(xp, data)
        step_length = data.xpos[..., body, 0] - before[..., 0]
        forward = forward_reward_weight * (step_length / env_step_seconds(model, frame_skip))
        cost = ctrl_cost_weight * sum_squares(xp, action)
        if contact_cost_weight != 0.0:
            cost = cost + contact_cost_weight * sum_squares(xp, contact_forces(xp, data))
        ended = ~healthy if terminate_when_unhealthy else never(xp, data)
        return forward + healthy_reward * healthy - cost, ended

    return Task(
        name="Ant",
        gymnasium_id="Ant-v5",
        model_file="ant.xml",
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=(
            NUM_POSITIONS - first + NUM_VELOCITIES + 78 * include_cfrc_ext_in_observation
        ),
        num_uniforms=NUM_POSITIONS,
        num_normals=NUM_VELOCITIES,
        # The quaternion gets noise like any coordinate and is not renormalised, as in Gymnasium.
        reset=uniform_normal_reset(reset_noise_scale),
        observe=observe if include_cfrc_ext_in_observation else Coordinates(first),
        track=track,
        reward=reward,
        is_healthy=is_healthy if terminate_when_unhealthy else None,
        fields=("xpos", "cfrc_ext") if has_forces else ("xpos",),
        contact_forces=has_forces,
    )
