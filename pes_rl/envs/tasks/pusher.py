"""Pusher: push a cylinder to a goal with a seven-joint arm."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import never, sum_squares, symmetric, track_nothing

TIP, OBJECT, GOAL = 10, 11, 12
NUM_JOINTS = 7
CLEARANCE = 0.17
# Gymnasium draws the cylinder's place until it is clear of the goal. A draw is refused with
# probability (pi 0.17^2 / 2) / (0.3 * 0.4) = 0.378, so all 32 are with probability 3e-14; such a
# reset would start from the first draw.
NUM_DRAWS = 32


def _cylinder(xp: Any, first: Array, second: Array) -> Array:
    """The first draw that is clear of the goal [..., 2] [m], from uniforms [..., NUM_DRAWS]."""
    draws = xp.stack((-0.3 * (1.0 - first), symmetric(second, 0.2)), axis=-1)
    accepted = sum_squares(xp, draws) > CLEARANCE**2
    index = xp.argmax(accepted, axis=-1)[..., None, None]
    return xp.take_along_axis(draws, index, axis=-2)[..., 0, :]


def reset(xp: Any, model: Any, uniforms: Array, normals: Array) -> tuple[Array, Array]:
    """Arm at its initial pose, nearly still; cylinder placed at random, goal at the origin."""
    del normals
    arm_velocity = symmetric(uniforms[..., :NUM_JOINTS], 0.005)
    draws = uniforms[..., NUM_JOINTS:]
    cylinder = _cylinder(xp, draws[..., :NUM_DRAWS], draws[..., NUM_DRAWS:])
    arm = model.qpos0[:NUM_JOINTS] + xp.zeros_like(arm_velocity)
    still = xp.zeros_like(cylinder)
    qpos = xp.concatenate((arm, cylinder, still), axis=-1)
    return qpos, xp.concatenate((arm_velocity, still, still), axis=-1)


def observe(xp: Any, model: Any, data: Any) -> Array:
    """Joint angles (7) and velocities (7), places of fingertip, cylinder and goal (3 each)."""
    del model
    parts = (
        data.qpos[..., :NUM_JOINTS],
        data.qvel[..., :NUM_JOINTS],
        data.xpos[..., TIP, :],
        data.xpos[..., OBJECT, :],
        data.xpos[..., GOAL, :],
    )
    return xp.concatenate(parts, axis=-1)


def make(
    *,
    frame_skip: int = 5,
    reward_near_weight: float = 0.5,
    reward_dist_weight: float = 1.0,
    reward_control_weight: float = 0.1,
) -> Task:
    """The task with Gymnasium's keyword arguments."""

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Minus the distances from cylinder to goal and from cylinder to tip, and control cost."""
        del model, before
        cylinder = data.xpos[..., OBJECT, :]
        to_goal = xp.sqrt(sum_squares(xp, cylinder - data.xpos[..., GOAL, :]))
        to_tip = xp.sqrt(sum_squares(xp, cylinder - data.xpos[..., TIP, :]))
        distances = -reward_dist_weight * to_goal - reward_near_weight * to_tip
        return distances - reward_control_weight * sum_squares(xp, action), never(xp, data)

    return Task(
        name="Pusher",
        gymnasium_id="Pusher-v5",
        model_file="pusher_v5.xml",
        frame_skip=frame_skip,
        horizon=100,
        observation_size=23,
        num_uniforms=NUM_JOINTS + 2 * NUM_DRAWS,
        num_normals=0,
        reset=reset,
        observe=observe,
        track=track_nothing,
        reward=reward,
        fields=("xpos",),
    )
