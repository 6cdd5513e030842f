"""HumanoidStandup: get up from lying on the back, the higher the better."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks import humanoid_body as body
from pes_rl.envs.tasks.common import Range, never, track_nothing


def make(
    *,
    frame_skip: int = 5,
    uph_cost_weight: float = 1.0,
    ctrl_cost_weight: float = 0.1,
    impact_cost_weight: float = 5e-7,
    impact_cost_range: Range = (-math.inf, 10.0),
    reset_noise_scale: float = 0.01,
    exclude_current_positions_from_observation: bool = True,
    include_cinert_in_observation: bool = True,
    include_cvel_in_observation: bool = True,
    include_qfrc_actuator_in_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """The task with Gymnasium's keyword arguments; v5 takes ``uph_cost_weight`` and never uses it.

    So it has no effect here either.
    """
    del uph_cost_weight
    effort = body.effort(ctrl_cost_weight, impact_cost_weight, impact_cost_range)

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Torso height over the physics timestep (not the env step), plus 1, minus the costs."""
        del before
        height = data.qpos[..., 2] / model.opt.timestep
        return height + 1.0 - effort(xp, data, action), never(xp, data)

    return body.humanoid_task(
        "HumanoidStandup",
        "humanoidstandup.xml",
        frame_skip=frame_skip,
        reset_noise_scale=reset_noise_scale,
        observe=body.observation(
            exclude_current_positions_from_observation,
            cinert=include_cinert_in_observation,
            cvel=include_cvel_in_observation,
            qfrc_actuator=include_qfrc_actuator_in_observation,
            cfrc_ext=include_cfrc_ext_in_observation,
        ),
        track=track_nothing,
        reward=reward,
        rewarded=("cfrc_ext",) if impact_cost_weight else (),
    )
