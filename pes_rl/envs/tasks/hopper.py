"""Hopper: hop forward on one leg without falling."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array
from pes_rl.envs.tasks.planar_walker import planar_walker


def is_healthy(xp: Any, data: Any) -> Array:
    """Torso above 0.7 m and within 0.2 rad of upright, and nothing blown up (NaN included)."""
    upright = (data.qpos[..., 1] > 0.7) & (xp.abs(data.qpos[..., 2]) < 0.2)
    joints_bounded = (xp.abs(data.qpos[..., 3:]) < 100.0).all(-1)
    return upright & joints_bounded & (xp.abs(data.qvel) < 100.0).all(-1)


TASK = planar_walker("Hopper", "hopper.xml", num_coordinates=6, is_healthy=is_healthy)
