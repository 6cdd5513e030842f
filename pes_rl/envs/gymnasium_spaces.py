"""Gymnasium's spaces as policies see them, and a policy's actions as an environment wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.observation import ObservationSpec, array_of

_ACTIONS = "a float Box, Discrete, MultiDiscrete or MultiBinary"
_OBSERVATIONS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"


def action_spec(space: Any, name: str) -> ActionSpec:
    """How a policy's output becomes an action in ``space``; UserError for other kinds of spaces."""
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", int(space.n), start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        choices = tuple(int(n) for n in space.nvec.flat)
        start = tuple(int(first) for first in space.start.flat)
        return ActionSpec("multi-discrete", sum(choices), start=start, choices=choices)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("multi-binary", int(np.prod(space.shape)))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return ActionSpec("box", space.low.size, *_inward(space.low, space.high))
    raise UserError(f"environment {name!r} has action space {space}; policies act in {_ACTIONS}")


def _inward(low: np.ndarray, high: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds as float32 that are never beyond those of a float64 space."""
    least, most = low.ravel().astype(np.float32), high.ravel().astype(np.float32)
    least = np.where(least < low.ravel(), np.nextafter(least, np.float32(np.inf)), least)
    most = np.where(most > high.ravel(), np.nextafter(most, np.float32(-np.inf)), most)
    return tuple(least.tolist()), tuple(most.tolist())


def observation_spec(space: Any, name: str) -> ObservationSpec:
    """How an observation in ``space`` is flattened; UserError for pictures and other kinds."""
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) == 3:
            raise UserError(
                f"environment {name!r} observes pixels {space.shape}; policies take vectors, so "
                "wrap it in an environment that observes features"
            )
        return array_of(space.shape)
    if isinstance(space, spaces.MultiBinary):
        return array_of(space.shape)
    if isinstance(space, spaces.Discrete):
        return ObservationSpec("choice", (), (int(space.n),), (int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        counts, start = (tuple(int(n) for n in part.flat) for part in (space.nvec, space.start))
        return ObservationSpec("choice", space.shape, counts, start)
    if isinstance(space, spaces.Dict) and all(isinstance(key, str) for key in space.spaces):
        parts = tuple(observation_spec(part, name) for part in space.spaces.values())
        return ObservationSpec("dict", keys=tuple(space.spaces), parts=parts)
    if isinstance(space, spaces.Tuple):
        parts = tuple(observation_spec(part, name) for part in space.spaces)
        return ObservationSpec("tuple", parts=parts)
    raise UserError(
        f"environment {name!r} has observation space {space}; policies observe {_OBSERVATIONS}"
    )


def native(space: Any, action: np.ndarray) -> Any:
    """A policy's action, flat or shaped, as an element of ``space``, in the space's own type."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(action, space.dtype)[()]
    return np.asarray(action, space.dtype).reshape(space.shape)
