"""What Humanoid and HumanoidStandup share: one body, its observation, reset and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import Range, clip, sum_squares, uniform_reset

NUM_COORDINATES = 24 + 23  # nq + nv

Cost = Callable[[Any, Any, Array], Array]

# Sizes of the derived fields in the observation, in the order in which they stand there.
_SIZES = {"cinert": 13 * 10, "cvel": 13 * 6, "qfrc_actuator": 17, "cfrc_ext": 13 * 6}


def _part(name: str, field: Array) -> Array:
    """A field flattened: joint torques without the root's, or the rows of all bodies but the world.

    [..., nv] -> [..., nv - 6] or [..., nbody, k] -> [..., (nbody - 1) * k].
    """
    if name == "qfrc_actuator":
        return field[..., 6:]
    return field[..., 1:, :].reshape(*field.shape[:-2], -1)


@dataclass(frozen=True)
class Observation:
    """Positions from ``first`` on, all velocities, then the derived ``fields``.

    The latter are body inertias (130), body velocities (78), joint torques (17) and contact forces
    (78), as far as they are wanted.
    """

    first: int
    fields: tuple[str, ...]

    @property
    def size(self) -> int:
        """Length of one observation."""
        return NUM_COORDINATES - self.first + sum(_SIZES[name] for name in self.fields)

    def __call__(self, xp: Any, model: Any, data: Any) -> Array:
        """Observations [..., size]."""
        del model
        parts = (_part(name, getattr(data, name)) for name in self.fields)
        return xp.concatenate((data.qpos[..., self.first :], data.qvel, *parts), axis=-1)


def observation(exclude_current_positions: bool, **included: bool) -> Observation:
    """The observation that Gymnasium's keyword arguments ask for; one flag for each field."""
    first = 2 if exclude_current_positions else 0
    return Observation(first, tuple(name for name in _SIZES if included[name]))


def effort(ctrl_cost_weight: float, contact_cost_weight: float, contact_cost_range: Range) -> Cost:
    """``(xp, data, action) -> [...]``: control cost, plus contact cost limited to its range."""
    low, high = contact_cost_range

    def contact_cost(xp: Any, data: Any) -> Array:
        if contact_cost_weight == 0.0:  # nobody computes the forces then
            return min(max(0.0, low), high)
        forces = data.cfrc_ext.reshape(*data.cfrc_ext.shape[:-2], -1)
        return clip(xp, contact_cost_weight * sum_squares(xp, forces), low, high)

    return lambda xp, data, action: (
        ctrl_cost_weight * sum_squares(xp, action) + contact_cost(xp, data)
    )


def humanoid_task(
    name: str,
    model_file: str,
    *,
    frame_skip: int,
    reset_noise_scale: float,
    observe: Observation,
    track: Callable[[Any, Any, Any], Array],
    reward: Callable[[Any, Any, Array, Any, Array], tuple[Array, Array]],
    rewarded: tuple[str, ...],
    is_healthy: Callable[[Any, Any], Array] | None = None,
) -> Task:
    """The task whose reward reads the fields ``rewarded`` besides those observed."""
    fields = tuple(dict.fromkeys((*rewarded, *observe.fields)))
    return Task(
        name=name,
        gymnasium_id=f"{name}-v5",
        model_file=model_file,
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=observe.size,
        num_uniforms=NUM_COORDINATES,
        num_normals=0,
        reset=uniform_reset(reset_noise_scale),
        observe=observe,
        track=track,
        reward=reward,
        is_healthy=is_healthy,
        fields=fields,
        contact_forces="cfrc_ext" in fields,
    )
