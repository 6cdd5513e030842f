"""Walker2d: walk forward on two legs in the plane without falling."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array
from pes_rl.envs.tasks.planar_walker import planar_walker


def is_healthy(xp: Any, data: Any) -> Array:
    """Torso between 0.8 m and 2 m high and within 1 rad of upright."""
    height = data.qpos[..., 1]
    return (height > 0.8) & (height < 2.0) & (xp.abs(data.qpos[..., 2]) < 1.0)


TASK = planar_walker("Walker2d", "walker2d_v5.xml", num_coordinates=9, is_healthy=is_healthy)
