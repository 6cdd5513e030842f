"""What MJX's Warp implementation asks for beyond the common path: room for everybody's contacts.

Warp keeps the contacts of all particles in arrays that they share, whose length is fixed when its
data are made, and drops those that find no room: bodies would sink into the floor. The length must
therefore follow how many particles are stepped in one call, which only the outermost `jax.vmap`
knows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from pes_rl.errors import UserError

_LARGE = 1000  # elements


def require_warp() -> None:
    """Raise UserError where the package is missing."""
    if find_spec("warp") is None:
        raise UserError(
            "backend 'warp' needs the package warp-lang; pip install -c constraints.txt '.[warp]', "
            "or use --backend jax"
        )


def with_room(mjx: Any, model: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Complete functions ``(blank data, *arrays)`` of one particle by blank data for everybody."""

    def complete(function: Callable[..., Any]) -> Callable[..., Any]:
        def together(count: int) -> Callable[..., Any]:
            return lambda *arrays: jax.vmap(partial(function, _blank(mjx, model, count)))(*arrays)

        return all_at_once(together)

    return complete


def all_at_once(make: Callable[[int], Callable[..., Any]]) -> Callable[..., Any]:
    """A function of one particle that `jax.vmap` turns into one call for all of them.

    ``make(count)`` gives the function of ``count`` particles, arrays [count, ...] to arrays
    [count, ...]. However deeply it is vmapped, only the one for all particles runs.
    """

    def wide(count: int) -> Callable[..., Any]:
        function = custom_vmap(make(count))

        @function.def_vmap
        def rule(size: int, batched: list[bool], *arrays: jax.Array) -> tuple[Any, Any]:
            whole = [
                x if known else jnp.broadcast_to(x, (size, *x.shape))
                for x, known in zip(arrays, batched, strict=True)
            ]
            flat = (x.reshape(size * count, *x.shape[2:]) for x in whole)
            out = wide(size * count)(*flat)
            out = jax.tree.map(lambda x: x.reshape(size, count, *x.shape[1:]), out)
            return out, jax.tree.map(lambda _: True, out)

        return function

    one = wide(1)
    return lambda *arrays: jax.tree.map(lambda x: x[0], one(*(x[None] for x in arrays)))


def _blank(mjx: Any, model: Any, num_particles: int) -> Any:
    """Warp's data of one particle, with room for all contacts of ``num_particles`` of them.

    To be called within the program: large arrays of equal elements are formed there rather than
    kept in it as constants.
    """
    bounds = mjx.make_data(model, impl="jax")._impl  # of a fixed size, so all there can ever be
    contacts = num_particles * max(bounds.ncon, 1)
    with jax.ensure_compile_time_eval():
        data = mjx.make_data(model, impl="warp", naconmax=contacts, njmax=max(bounds.nefc, 1))
    return jax.tree.map(_formed, data)


def _formed(leaf: Any) -> Any:
    if np.size(leaf) < _LARGE:
        return leaf
    values = np.asarray(leaf)
    if (values != values.flat[0]).any():
        return leaf
    return jnp.full(values.shape, values.flat[0], values.dtype)
