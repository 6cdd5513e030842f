"""What Hopper and Walker2d share: all but the model and the definition of healthy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import (
    Coordinates,
    never,
    sum_squares,
    track_x,
    uniform_reset,
    x_velocity,
)

Healthy = Callable[[Any, Any], Array]


def planar_walker(
    name: str,
    model_file: str,
    num_coordinates: int,
    is_healthy: Healthy,
    *,
    frame_skip: int,
    forward_reward_weight: float,
    ctrl_cost_weight: float,
    healthy_reward: float,
    terminate_when_unhealthy: bool,
    reset_noise_scale: float,
    exclude_current_positions_from_observation: bool,
) -> Task:
    """The task for a model of ``num_coordinates`` = nq = nv; ``is_healthy(xp, data) -> [...]``.

    The rest are Gymnasium's keyword arguments.
    """
    first = 1 if exclude_current_positions_from_observation else 0

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """Forward velocity, plus a constant while healthy, minus control cost."""
        healthy = is_healthy(xp, data)
        forward = forward_reward_weight * x_velocity(model, frame_skip, before, data)
        cost = ctrl_cost_weight * sum_squares(xp, action)
        ended = ~healthy if terminate_when_unhealthy else never(xp, data)
        return forward + healthy_reward * healthy - cost, ended

    return Task(
        name=name,
        gymnasium_id=f"{name}-v5",
        model_file=model_file,
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=2 * num_coordinates - first,
        num_uniforms=2 * num_coordinates,
        num_normals=0,
        reset=uniform_reset(reset_noise_scale),
        observe=Coordinates(first, bound=10.0),
        track=track_x,
        reward=reward,
        is_healthy=is_healthy if terminate_when_unhealthy else None,
    )
