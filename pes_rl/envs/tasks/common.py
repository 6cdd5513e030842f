"""Pieces that several tasks share. Arrays are indexed from the right, ``xp`` is the namespace."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pes_rl.envs.task import Array

Range = tuple[float, float]
Reset = Callable[[Any, Any, Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Coordinates:
    """Observation of the positions from ``first`` on, then of all velocities.

    Velocities are limited to [-bound, bound]. An engine that keeps both side by side can copy such
    observations at one stroke.
    """

    first: int
    bound: float = math.inf

    def __call__(self, xp: Any, model: Any, data: Any) -> Array:
        """Observations [..., nq - first + nv]."""
        del model
        bound, velocity = self.bound, data.qvel
        if bound != math.inf:
            velocity = clip(xp, velocity, -bound, bound)
        return xp.concatenate((data.qpos[..., self.first :], velocity), axis=-1)


def symmetric(uniforms: Array, scale: float) -> Array:
    """Standard uniforms mapped to [-scale, scale)."""
    return (2.0 * uniforms - 1.0) * scale


def uniform_reset(scale: float) -> Reset:
    """Every position and velocity gets uniform noise in [-scale, scale); needs nq + nv uniforms."""

    def reset(xp: Any, model: Any, uniforms: Array, normals: Array) -> tuple[Array, Array]:
        del xp, normals
        noise = symmetric(uniforms, scale)
        return model.qpos0 + noise[..., : model.nq], noise[..., model.nq :]

    return reset


def uniform_normal_reset(scale: float) -> Reset:
    """Positions get uniform noise in [-scale, scale), velocities normal noise of that deviation.

    Needs nq uniforms and nv normals.
    """

    def reset(xp: Any, model: Any, uniforms: Array, normals: Array) -> tuple[Array, Array]:
        del xp
        return model.qpos0 + symmetric(uniforms, scale), scale * normals

    return reset


def clip(xp: Any, x: Array, low: float, high: float) -> Array:
    """``x`` limited to [low, high]; NumPy's own clip is twice as slow on small arrays."""
    return xp.minimum(xp.maximum(x, low), high)


def between(low: float, high: float) -> Callable[[Any, Array], Array]:
    """``(xp, x) -> low < x < high`` in the fewest operations; False where ``x`` is not a number.

    A single infinite bound is not compared with: an engine drops states that are not finite.
    """
    if low == -high:
        return lambda xp, x: xp.abs(x) < high
    if high == math.inf:
        return lambda xp, x: x > low
    if low == -math.inf:
        return lambda xp, x: x < high
    return lambda xp, x: (x > low) & (x < high)


def all_finite(xp: Any, data: Any) -> Array:
    """Whether every position and velocity is a finite number [...]."""
    return xp.isfinite(data.qpos).all(-1) & xp.isfinite(data.qvel).all(-1)


def sum_squares(xp: Any, x: Array) -> Array:
    """Sum of squares over the last axis."""
    return xp.add.reduce(x * x, axis=-1)


def env_step_seconds(model: Any, frame_skip: int) -> Array:
    """Simulated time of one env step [s]."""
    return model.opt.timestep * frame_skip


def never(xp: Any, data: Any) -> Array:
    """False for every member of the batch: the termination flag of a task that does not end."""
    return xp.zeros(data.qpos.shape[:-1], bool)


def track_nothing(xp: Any, model: Any, data: Any) -> Array:
    """An empty tracked value [..., 0], for rewards that depend on the new state alone."""
    del model
    return xp.array(data.qpos[..., :0])


def track_x(xp: Any, model: Any, data: Any) -> Array:
    """The first coordinate [..., 1] [m], copied because an engine may step ``data`` in place."""
    del model
    return xp.array(data.qpos[..., :1])


def x_velocity(model: Any, frame_skip: int, before: Array, data: Any) -> Array:
    """Mean velocity of the first coordinate over the env step [m/s]; ``before`` from track_x."""
    return (data.qpos[..., 0] - before[..., 0]) / env_step_seconds(model, frame_skip)
