"""Humanoid: walk forward on two legs in three dimensions without falling."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks import humanoid_body as body
from pes_rl.envs.tasks.common import env_step_seconds


def centre_of_mass_x(model: Any, data: Any) -> Array:
    """x of the centre of mass [...] [m]; from xipos, which is one substep behind qpos."""
    mass = model.body_mass
    return (data.xipos[..., 0] * mass).sum(-1) / mass.sum()


def track(xp: Any, model: Any, data: Any) -> Array:
    """x of the centre of mass [..., 1] [m]."""
    del xp
    return centre_of_mass_x(model, data)[..., None]


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """1.25 times forward velocity, plus 5 while standing, minus control and contact costs."""
    height = data.qpos[..., 2]
    healthy = (height > 1.0) & (height < 2.0)
    step_length = centre_of_mass_x(model, data) - before[..., 0]
    forward = step_length / env_step_seconds(model, body.FRAME_SKIP)
    return 1.25 * forward + 5.0 * healthy - body.effort(xp, data, action), ~healthy


TASK = Task(
    name="Humanoid",
    gymnasium_id="Humanoid-v5",
    model_file="humanoid.xml",
    frame_skip=body.FRAME_SKIP,
    horizon=1000,
    observation_size=body.OBSERVATION_SIZE,
    num_uniforms=body.NUM_UNIFORMS,
    num_normals=0,
    reset=body.reset,
    observe=body.observe,
    track=track,
    reward=reward,
    fields=("xipos", *body.OBSERVED_FIELDS),
    contact_forces=True,
)
