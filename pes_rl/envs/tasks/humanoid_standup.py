"""HumanoidStandup: get up from lying on the back, the higher the better."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks import humanoid_body as body
from pes_rl.envs.tasks.common import never, track_nothing


def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
    """Torso height over the physics timestep (not the env step), plus 1, minus the costs."""
    del before
    height = data.qpos[..., 2] / model.opt.timestep
    return height + 1.0 - body.effort(xp, data, action), never(xp, data)


TASK = Task(
    name="HumanoidStandup",
    gymnasium_id="HumanoidStandup-v5",
    model_file="humanoidstandup.xml",
    frame_skip=body.FRAME_SKIP,
    horizon=1000,
    observation_size=body.OBSERVATION_SIZE,
    num_uniforms=body.NUM_UNIFORMS,
    num_normals=0,
    reset=body.reset,
    observe=body.observe,
    track=track_nothing,
    reward=reward,
    fields=body.OBSERVED_FIELDS,
    contact_forces=True,
)
