"""Where pairs are placed: a mesh of devices, and sums over all pairs that do not depend on it.

A sum over pairs is formed in a fixed number of blocks of consecutive pairs, and the blocks' sums
are added in their order. Devices hold whole blocks, so their number changes neither the terms of a
block nor the order of the blocks; what is left are the last bits of how a compiler adds the terms
of one block for arrays of another size.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh

from pes_rl.errors import UserError
from pes_rl.estimators.core import Placement

Array = jax.Array
AXIS = "pairs"
_BLOCKS = 8


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis ``"pairs"`` over ``devices``, by default all there are."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def use_cores(num_pairs: int, cores: int) -> None:
    """Make every core a device of JAX, as far as the pairs spread evenly.

    A program has one thread per device (`pes_rl.runtime`), so without this a CPU of many cores
    would use one. Changes nothing once JAX has looked for devices, or where XLA_FLAGS sets them.
    """
    count = max(k for k in range(1, min(cores, num_pairs) + 1) if num_pairs % k == 0)
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):
            config: Any = jax.config
            config.update("jax_num_cpu_devices", count)


def check_fit(num_pairs: int, num_devices: int) -> None:
    """Raise UserError unless every device can hold equally many pairs."""
    if num_pairs % num_devices:
        more = -(-num_pairs // num_devices) * num_devices
        less = f"{more - num_devices} or " if more > num_devices else ""
        raise UserError(
            f"num_pairs {num_pairs} cannot be spread evenly over {num_devices} devices; "
            f"use --num-pairs {less}{more}"
        )


def summation_blocks(num_pairs: int, num_devices: int) -> int:
    """Blocks in which pairs are summed: 8 where that divides N and the devices divide it."""
    return math.lcm(math.gcd(num_pairs, _BLOCKS), num_devices)


def make_placement(num_pairs: int, num_devices: int) -> Placement:
    """Sums in blocks, of N pairs on devices along the mesh axis ``"pairs"`` (or on just one)."""
    blocks = summation_blocks(num_pairs, num_devices) // num_devices
    share = num_pairs // num_devices

    def gather(values: Array) -> Array:
        return values if num_devices == 1 else jax.lax.all_gather(values, AXIS, tiled=True)

    def here(values: Array) -> Array:
        if num_devices == 1:
            return values
        return jax.lax.dynamic_slice_in_dim(values, jax.lax.axis_index(AXIS) * share, share)

    def weighted_sum(delta: Array, weight: Array) -> Array:
        delta = delta.reshape(blocks, 1, -1)
        weight = weight.reshape(blocks, -1, weight.shape[-1])
        sums = jnp.matmul(delta, weight, precision="highest")[:, 0]
        return gather(sums).sum(axis=0)

    return Placement(gather, here, weighted_sum)
