"""What Hopper and Walker2d share: all but the model and the definition of healthy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import Coordinates, sum_squares, track_x, uniform_reset, x_velocity

FRAME_SKIP = 4

Healthy = Callable[[Any, Any], Array]


def planar_walker(name: str, model_file: str, num_coordinates: int, is_healthy: Healthy) -> Task:
    """The task for a model of ``num_coordinates`` = nq = nv; ``is_healthy(xp, data) -> [...]``."""

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Forward velocity, plus 1 while healthy (not on the last step), minus control cost."""
        healthy = is_healthy(xp, data)
        forward = x_velocity(model, FRAME_SKIP, before, data)
        return forward + healthy - 1e-3 * sum_squares(xp, action), ~healthy

    return Task(
        name=name,
        gymnasium_id=f"{name}-v5",
        model_file=model_file,
        frame_skip=FRAME_SKIP,
        horizon=1000,
        observation_size=2 * num_coordinates - 1,
        num_uniforms=2 * num_coordinates,
        num_normals=0,
        reset=uniform_reset(5e-3),
        observe=Coordinates(first=1, bound=10.0),
        track=track_x,
        reward=reward,
        is_healthy=is_healthy,
    )
