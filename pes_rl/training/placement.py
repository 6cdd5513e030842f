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
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.errors import UserError
from pes_rl.estimators.core import Placement
from pes_rl.training.backend import device_list

Array = jax.Array
AXIS = "pairs"
_BLOCKS = 8


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis ``"pairs"`` over ``devices``, by default all there are."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def local_mesh(num_pairs: int, cores: int) -> Mesh:
    """The mesh of a run in one process: all accelerators, or the cores of a CPU.

    A program has one thread per device (`pes_rl.runtime`), so a CPU of many cores has to be many
    devices. As many of them are used as pairs spread evenly over, and ``cores`` at most.
    """
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has looked for its devices already
            config: Any = jax.config
            config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    devices = device_list()
    if devices[0].platform == "cpu":
        most = min(cores, len(devices), num_pairs)
        devices = devices[: max(k for k in range(1, most + 1) if num_pairs % k == 0)]
    return make_mesh(devices)


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
    blocks = math.gcd(num_pairs, _BLOCKS)
    # The sum of a block of one pair is a product, which a compiler may merge with the addition of
    # the blocks, on one device and not on several.
    if blocks == num_pairs > 1:
        blocks //= 2
    return math.lcm(blocks, num_devices)


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


def spread(
    function: Callable[..., Any], mesh: Mesh, in_specs: tuple[Any, ...], out_specs: Any
) -> Callable[..., Any]:
    """A function run on every device of a mesh, each with its part of the arguments.

    Like `jax.shard_map`, whose specs these are, but arrays without elements are not among its
    inputs: jaxlib 0.11 crashes there, and counts what a function closes over (docs/jaxlib.md).
    They hold nothing, so they are made where they are needed.
    """

    def mapped(*arguments: Any) -> Any:
        parts = jax.tree.map(
            lambda x, spec: jax.ShapeDtypeStruct(
                NamedSharding(mesh, spec).shard_shape(x.shape), x.dtype
            ),
            arguments,
            complete(arguments, in_specs),
        )

        def here(*some: Any) -> Any:
            whole = jax.tree.map(lambda part, x: x if part.size else _empty(part), parts, some)
            traced, result = jax.make_jaxpr(function, return_shape=True)(*whole)
            constants = [x if np.size(x) else _empty(x) for x in traced.consts]
            leaves = jaxpr_as_fun(traced.replace(consts=constants))(*jax.tree.leaves(whole))
            return jax.tree.unflatten(jax.tree.structure(result), leaves)

        some = jax.tree.map(lambda x: x if x.size else None, arguments)
        return jax.shard_map(
            here, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )(*some)

    return mapped


def _empty(like: Any) -> Array:
    return jnp.zeros(like.shape, like.dtype)


def fetch(tree: Any) -> Any:
    """Copies on the host of whole arrays, wherever their parts are."""
    return jax.tree.map(_fetch, tree)


def _fetch(array: Any) -> np.ndarray:
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.array(array)
    from jax.experimental import multihost_utils

    return np.array(multihost_utils.process_allgather(array, tiled=True))


def distribute(array: np.ndarray, sharding: Sharding) -> Array:
    """The array on devices; every process gives the whole of it and keeps its own part."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def complete(tree: Any, prefix: Any) -> Any:
    """A sharding, or its spec, for each leaf of ``tree`` from one for whole branches of it."""

    def fill(one: Sharding | Spec, branch: Any) -> Any:
        return jax.tree.map(lambda _: one, branch)

    return jax.tree.map(fill, prefix, tree, is_leaf=lambda node: isinstance(node, Sharding | Spec))
