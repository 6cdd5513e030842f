"""A program compiled for the devices there are: seeds side by side, pairs spread over devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.reproductions.paper.part import Part, Program, Spread
from pes_rl.runtime import one_xla_thread, patient_collectives
from pes_rl.training import memory
from pes_rl.training.placement import (
    AXIS,
    complete,
    distribute,
    local_mesh,
    make_mesh,
    make_placement,
    spread,
)

State = tuple[Any, dict[str, Any]]
"""The program's state and the sums since the last row, seeds along the first axis."""


def start_devices() -> None:
    """A CPU is to be as many devices as it has cores: to be called before JAX computes anything."""
    one_xla_thread()  # for each device
    patient_collectives()
    local_mesh(1, 1)


def spread_over(part: Part, chunk: int | None) -> tuple[Mesh, Spread]:
    """All devices that the pairs spread evenly over, and at most ``chunk`` pairs at a time."""
    start_devices()
    mesh = local_mesh(part.pairs, os.cpu_count() or 1)
    if part.pairs % mesh.size:
        mesh = make_mesh([mesh.devices.flat[0]])
    share = part.pairs // mesh.size
    if chunk is not None:
        chunk = next(size for size in range(min(chunk, share), 0, -1) if share % size == 0)
    return mesh, Spread(make_placement(part.pairs, mesh.size), chunk)


class Engine:
    """Compiled functions of one program, for some seeds.

    Attributes:
      mesh: the devices.
      state_bytes: of the state as it is saved.
      work_bytes: what starting or an update takes at most beside the data, of all devices.
    """

    def __init__(self, program: Program, seeds: Sequence[int], mesh: Mesh) -> None:
        self.mesh = mesh
        # A map over one seed would turn conditions into selections, and so do all work twice.
        several, specs = len(seeds) > 1, _specs(program.layout)
        self._sharding = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
        everywhere = NamedSharding(mesh, Spec())
        self._data = jax.device_put(program.data, everywhere)
        self._keys = jnp.stack([jax.random.key(seed) for seed in seeds])

        def advance(data: Any, state: State, updates: Any) -> State:
            def one(_: Any, state: State) -> State:
                inner, sums = program.update(data, state[0])
                return inner, jax.tree.map(jnp.add, state[1], sums)

            return jax.lax.fori_loop(0, updates, one, state)

        def look(data: Any, state: State) -> tuple[State, dict[str, Any]]:
            inner, seen = program.look(data, state[0])
            return (inner, jax.tree.map(jnp.zeros_like, state[1])), state[1] | seen

        init = _each(program.init, several, (None, 0))
        update = _on(mesh, _each(program.update, several, (None, 0)), (specs[0], Spec()))
        inner = jax.eval_shape(init, self._data, self._keys)
        sums = jax.eval_shape(update, self._data, inner)[1]

        def begin(data: Any, keys: Any) -> State:
            return init(data, keys), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)

        shapes = inner, sums
        self._whole = complete(shapes, self._sharding)
        self._shapes = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            shapes,
            self._whole,
        )
        many = _on(mesh, _each(advance, several, (None, 0, None)), specs)
        placed: Any = self._whole
        self._begin = jax.jit(begin, out_shardings=placed).lower(self._data, self._keys).compile()
        updates = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
        self._advance = (
            jax.jit(many, donate_argnums=1, out_shardings=placed)
            .lower(self._data, self._shapes, updates)
            .compile()
        )
        looked = _each(look, several, (None, 0))
        self._look = jax.jit(looked, donate_argnums=1, out_shardings=(placed, None))
        self.state_bytes = _bytes(shapes)
        most = max(memory.peak(self._begin), memory.peak(self._advance))
        self.work_bytes = max(most - _bytes(program.data), 0) * mesh.size

    def begin(self) -> State:
        """The start of all seeds."""
        return self._begin(self._data, self._keys)

    def advance(self, state: State, updates: int) -> State:
        """Some updates; what ``state`` held is gone. Waits for them."""
        return jax.block_until_ready(self._advance(self._data, state, np.int32(updates)))

    def look(self, state: State) -> tuple[State, dict[str, Any]]:
        """The state with new sums, and the sums and what is seen, lists over the seeds."""
        state, seen = self._look(self._data, state)
        return state, {name: np.asarray(value).tolist() for name, value in seen.items()}

    def place(self, arrays: Any) -> State:
        """A state that was saved."""
        return jax.tree.map(distribute, arrays, self._whole)

    @property
    def template(self) -> State:
        """Shapes of a state."""
        return self._shapes


def _each(f: Callable, several: bool, axes: tuple[int | None, ...]) -> Callable:
    """A function of one seed for those along the first axis of what ``axes`` names."""
    if several:
        return jax.vmap(f, axes)

    def only(*args: Any) -> Any:
        inner = [
            arg if axis is None else jax.tree.map(lambda x: x[0], arg)
            for arg, axis in zip(args, axes, strict=True)
        ]
        return jax.tree.map(lambda x: jnp.asarray(x)[None], f(*inner))

    return only


def _on(mesh: Mesh, f: Callable, out_specs: Any) -> Callable:
    """``(data, state, ...)`` with the state's pairs on their devices."""
    if mesh.size == 1:
        return f

    def mapped(data: Any, state: Any, *rest: Any) -> Any:
        specs = out_specs if rest else out_specs[0]
        inside = (Spec(), specs, *[Spec()] * len(rest))
        return spread(f, mesh, inside, out_specs)(data, state, *rest)

    return mapped


def _specs(layout: Any) -> Any:
    """Of a state and its sums: the pairs' axis is the second one, after the seeds."""
    pairs: Any = Spec(None, AXIS)
    return jax.tree.map(lambda flag: pairs if flag else Spec(), layout), Spec()


def _bytes(tree: Any) -> int:
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))
