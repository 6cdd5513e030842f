"""Ant: four legs run forward; it may land on its back, but not jump out of its height range."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import clip, env_step_seconds, sum_squares, uniform_normal_reset

FRAME_SKIP = 5
TORSO = 1


def contact_forces(xp: Any, data: Any) -> Array:
    """External forces on all 14 bodies, each component limited to +-1, flattened to [..., 84]."""
    flat = data.cfrc_ext.reshape(*data.cfrc_ext.shape[:-2], -1)
    return clip(xp, flat, 1.0)


def is_healthy(xp: Any, data: Any) -> Array:
    """Finite state and torso between 0.2 m and 1 m high, bounds included."""
    finite = xp.isfinite(data.qpos).all(-1) & xp.isfinite(data.qvel).all(-1)
    height = data.qpos[..., 2]
    return finite & (height >= 0.2) & (height <= 1.0)


def observe(xp: Any, model: Any, data: Any) -> Array:
    """Pose without x, y (13), velocities (14), contact forces without the world body's (78)."""
    del model
    forces = contact_forces(xp, data)[..., 6:]
    return xp.concatenate((data.qpos[..., 2:], data.qvel, forces), axis=-1)


def track(xp: Any, model: Any, data: Any) -> Array:
    """The torso frame's x [..., 1] [m], which MuJoCo leaves one substep behind qpos."""
    del model
    return xp.array(data.xpos[..., TORSO, :1])


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """Forward velocity, plus 1 while healthy, minus control cost and contact cost."""
    healthy = is_healthy(xp, data)
    step_length = data.xpos[..., TORSO, 0] - before[..., 0]
    forward = step_length / env_step_seconds(model, FRAME_SKIP)
    cost = 0.5 * sum_squares(xp, action) + 5e-4 * sum_squares(xp, contact_forces(xp, data))
    return forward + healthy - cost, ~healthy


TASK = Task(
    name="Ant",
    gymnasium_id="Ant-v5",
    model_file="ant.xml",
    frame_skip=FRAME_SKIP,
    horizon=1000,
    observation_size=105,
    num_uniforms=15,
    num_normals=14,
    # The quaternion gets noise like any coordinate and is not renormalised, as in Gymnasium.
    reset=uniform_normal_reset(0.1),
    observe=observe,
    track=track,
    reward=reward,
    is_healthy=is_healthy,
    fields=("xpos", "cfrc_ext"),
    contact_forces=True,
)
