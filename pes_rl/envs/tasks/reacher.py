"""Reacher: bring the tip of a two-link arm to a goal in the plane."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import never, sum_squares, symmetric, track_nothing

FINGERTIP, TARGET = 3, 4
GOAL_RADIUS = 0.2


def reset(xp: Any, model: Any, uniforms: Array, normals: Array) -> tuple[Array, Array]:
    """Arm near zero and nearly still; goal uniform in a disc of 0.2 m, at rest.

    The square root makes the area inside the drawn radius uniform, which is the distribution that
    Gymnasium reaches by rejecting points of the square outside the disc.
    """
    del normals
    arm = model.qpos0[:2] + symmetric(uniforms[..., :2], 0.1)
    arm_velocity = symmetric(uniforms[..., 2:4], 0.005)
    radius = GOAL_RADIUS * xp.sqrt(uniforms[..., 4:5])
    angle = 2.0 * math.pi * uniforms[..., 5:6]
    qpos = xp.concatenate((arm, radius * xp.cos(angle), radius * xp.sin(angle)), axis=-1)
    return qpos, xp.concatenate((arm_velocity, xp.zeros_like(arm)), axis=-1)


def _tip_from_goal(data: Any) -> Array:
    """Vector from goal to fingertip [..., 3] [m], one substep behind qpos."""
    return data.xpos[..., FINGERTIP, :] - data.xpos[..., TARGET, :]


def observe(xp: Any, model: Any, data: Any) -> Array:
    """Cosines (2) and sines (2) of the joints, goal (2), joint velocities (2), tip - goal (2)."""
    del model
    angles = data.qpos[..., :2]
    parts = (
        xp.cos(angles),
        xp.sin(angles),
        data.qpos[..., 2:],
        data.qvel[..., :2],
        _tip_from_goal(data)[..., :2],
    )
    return xp.concatenate(parts, axis=-1)


def make(
    *, frame_skip: int = 2, reward_dist_weight: float = 1.0, reward_control_weight: float = 1.0
) -> Task:
    """The task with Gymnasium's keyword arguments."""

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Minus the distance to the goal, minus the control cost."""
        del model, before
        distance = xp.sqrt(sum_squares(xp, _tip_from_goal(data)))
        cost = reward_control_weight * sum_squares(xp, action)
        return -reward_dist_weight * distance - cost, never(xp, data)

    return Task(
        name="Reacher",
        gymnasium_id="Reacher-v5",
        model_file="reacher.xml",
        frame_skip=frame_skip,
        horizon=50,
        observation_size=10,
        num_uniforms=6,
        num_normals=0,
        reset=reset,
        observe=observe,
        track=track_nothing,
        reward=reward,
        fields=("xpos",),
    )
