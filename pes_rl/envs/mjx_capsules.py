"""MuJoCo's axes of friction where a capsule touches a plane, for both implementations of MJX.

A contact has a friction pyramid with edges along two tangents. The C engine lays the first one
along the capsule; MJX does so only where the capsule is less than 60 degrees steep on the plane,
and takes an axis of the world where it is steeper. That turns the pyramid, which is no circle, so
other forces come out: on Ant, whose legs stand steeply, accelerations differ by up to 60 %.
"""

# Warp's type stubs do not know its own vectors, and MJX keeps a number on a function.
# pyright: reportArgumentType=false, reportCallIssue=false, reportFunctionMemberAccess=false
# No `from __future__ import annotations`: Warp reads the annotations of what it compiles.

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import Array


@contextlib.contextmanager
def capsules_of_mujoco() -> Iterator[None]:
    """While MJX's JAX implementation is traced inside, capsules touch planes as in the C engine.

    Other users of MJX in the process, Brax and Playground among them, keep what they have.
    """
    driver: Any = importlib.import_module("mujoco.mjx._src.collision_driver")
    kinds = importlib.import_module("mujoco").mjtGeom
    table = driver._COLLISION_FUNC
    pair = (kinds.mjGEOM_PLANE, kinds.mjGEOM_CAPSULE)
    before = table[pair]

    def collide(model: Any, data: Any, key: Any, geoms: Array) -> tuple[Array, Array, Array]:
        distance, position, frame = before(model, data, key, geoms)
        axis = jnp.repeat(data.geom_xmat[geoms[:, 1], :, 2], 2, axis=0)  # two ends, two contacts
        return distance, position, _along(axis, frame[:, 0])

    collide.ncon = before.ncon
    table[pair] = collide
    try:
        yield
    finally:
        table[pair] = before


def _along(axis: Array, normal: Array) -> Array:
    """Contact frames [n, 3, 3], whose rows are the normal, along the capsule, and across it."""
    flat = axis - normal * (axis * normal).sum(-1, keepdims=True)
    length = jnp.linalg.norm(flat, axis=-1, keepdims=True)
    upright = jnp.array([1.0, 0.0, 0.0], flat.dtype)
    tangent = jnp.where(length > 0, flat / jnp.where(length > 0, length, 1.0), upright)
    return jnp.stack((normal, tangent, jnp.cross(normal, tangent)), axis=1)


@functools.cache
def use_capsules_of_mujoco_in_warp() -> None:
    """From now on Warp's kernels have capsules touch planes as in the C engine.

    In the whole process: kernels are made when they are first launched. Nothing else in this
    package steps Warp.
    """
    import warp as wp

    core: Any = importlib.import_module(
        "mujoco.mjx.third_party.mujoco_warp._src.collision_primitive_core"
    )
    before = core.plane_capsule

    @wp.func
    def plane_capsule(
        normal: wp.vec3,
        plane: wp.vec3,
        centre: wp.vec3,
        axis: wp.vec3,
        radius: float,
        half_length: float,
    ):
        distance, position, _ = before(normal, plane, centre, axis, radius, half_length)
        flat = axis - normal * wp.dot(normal, axis)
        tangent = wp.vec3(1.0, 0.0, 0.0)
        if wp.length(flat) > 0.0:
            tangent = wp.normalize(flat)
        third = wp.cross(normal, tangent)
        return distance, position, wp.matrix_from_rows(normal, tangent, third)

    user: Any = importlib.import_module(
        "mujoco.mjx.third_party.mujoco_warp._src.collision_primitive"
    )
    user.plane_capsule = plane_capsule
