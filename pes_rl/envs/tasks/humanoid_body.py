"""What Humanoid and HumanoidStandup share: one body, its observation, reset and costs."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array
from pes_rl.envs.tasks.common import sum_squares, uniform_reset

FRAME_SKIP = 5
OBSERVATION_SIZE = 348
NUM_UNIFORMS = 24 + 23
OBSERVED_FIELDS = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")

reset = uniform_reset(0.01)


def _bodies(field: Array) -> Array:
    """Rows of all bodies but the world, [..., nbody, k] -> [..., (nbody - 1) * k]."""
    return field[..., 1:, :].reshape(*field.shape[:-2], -1)


def observe(xp: Any, model: Any, data: Any) -> Array:
    """Pose without x, y (22), velocities (23), then derived fields.

    Body inertias (130), body velocities (78), joint torques (17), contact forces (78).
    """
    del model
    parts = (
        data.qpos[..., 2:],
        data.qvel,
        _bodies(data.cinert),
        _bodies(data.cvel),
        data.qfrc_actuator[..., 6:],
        _bodies(data.cfrc_ext),
    )
    return xp.concatenate(parts, axis=-1)


def effort(xp: Any, data: Any, action: Array) -> Array:
    """Control cost plus contact cost [...]; the latter is unclipped in force, at most 10."""
    forces = data.cfrc_ext.reshape(*data.cfrc_ext.shape[:-2], -1)
    return 0.1 * sum_squares(xp, action) + xp.minimum(5e-7 * sum_squares(xp, forces), 10.0)
