"""One run in several processes, on one machine or many, by JAX's own runtime.

The processes are equal but for the first, which alone touches the run folder, evaluates, and
decides what all do. They agree on everything else by computing it alike. What they exchange by
themselves (as opposed to inside compiled programs) is small and goes over the same network.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl.errors import UserError

if TYPE_CHECKING:
    from jax.sharding import Mesh


_LEAVE_S = 10
# For one that compiles, evaluates or saves: as long as it takes. The death or standstill of any
# process ends the waiting, for then this process ends (`pes_rl.training.links`).
_PATIENCE_S = 7 * 24 * 3600
_PIECE = 2**26  # bytes


class Processes:
    """The processes of a run. All of them must make the same calls in the same order.

    Attributes:
      index: number of this process.
      size: how many there are.
    """

    def __init__(self, index: int = 0, size: int = 1):
        self.index, self.size = index, size
        self._calls = itertools.count()

    @functools.cached_property
    def mesh(self) -> Mesh:
        """One device of each process, along the axis ``"pairs"``."""
        import jax

        from pes_rl.training.placement import make_mesh

        # CPUs also where there are accelerators: what host engines exchange is small.
        first = {device.process_index: device for device in reversed(jax.devices("cpu"))}
        return make_mesh([first[i] for i in range(self.size)])

    def wait(self) -> None:
        """Return once every process has called it."""
        if self.size > 1:
            self._barrier(f"wait {next(self._calls)}", _PATIENCE_S)

    def leave(self) -> bool:
        """Whether all processes want to leave at this moment."""
        try:
            self._barrier("leave", _LEAVE_S)
        except Exception:
            return False
        return True

    def agreed(self, stop: list[int], finished: bool = False) -> bool:
        """Whether any process has received a signal, or thinks that the run is ``finished``.

        ``stop`` then holds a signal on all of them if one of them got one.
        """
        if self.size == 1:
            return bool(stop) or finished
        own = np.array([[stop[0] if stop else 0, finished]])
        signal, finished = self.gather(own).max(axis=0).tolist()
        if signal and not stop:
            stop.append(signal)
        return bool(signal or finished)

    def decide(self, decision: Callable[[], Any]) -> Any:
        """What the first process's ``decision`` returns (JSON), or the UserError it raises."""
        if self.size == 1:
            return decision()
        name = f"decision {next(self._calls)}"
        if self.index > 0:
            told = json.loads(_client().blocking_key_value_get(name, 1000 * _PATIENCE_S))
            self.wait()
        else:
            try:
                told = {"value": decision()}
            except UserError as error:
                told = {"error": str(error)}
            _client().key_value_set(name, json.dumps(told))
            self.wait()  # it holds what it told
        if "error" in told:
            raise UserError(told["error"])
        return told["value"]

    def share(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The first process's arrays, on all of them; no common file system is needed."""
        if self.size == 1:
            assert arrays is not None
            return arrays
        from safetensors.numpy import load, save

        own = save(arrays) if arrays is not None else b""
        length = self.decide(lambda: len(own))
        pieces = []
        for start in range(0, length, _PIECE):
            piece = np.zeros((1, min(_PIECE, length - start)), np.uint8)
            if self.index == 0:
                piece[0] = np.frombuffer(own[start : start + _PIECE], np.uint8)
            pieces.append(_run(_sum(self.mesh), self.mesh, piece).tobytes())
        found = load(b"".join(pieces))
        return {name: np.require(array, requirements="W") for name, array in found.items()}

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Every process's [n, ...] as [size n, ...], in the order of the processes, by bits."""
        if self.size == 1 or values.size == 0:
            return np.concatenate([values] * self.size)
        rows = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
        found = _run(_all_gather(self.mesh), self.mesh, rows)
        shape = (self.size * len(values), *values.shape[1:])
        return np.frombuffer(found.tobytes(), values.dtype).reshape(shape).copy()

    def own(self, rows: np.ndarray) -> np.ndarray:
        """This process's part of an array of all pairs or particles; undoes `gather`."""
        share = len(rows) // self.size
        return rows[self.index * share :][:share]

    def _barrier(self, name: str, seconds: float) -> None:
        _client().wait_at_barrier(name, int(1000 * seconds))


ALONE = Processes()


def _client() -> Any:
    # JAX exposes its key-value store and its barriers nowhere else.
    from jax._src.distributed import global_state

    return global_state.client


@functools.cache
def _all_gather(mesh: Mesh) -> Any:
    return _exchange(mesh, lambda lax, axis, x: lax.all_gather(x, axis, tiled=True))


@functools.cache
def _sum(mesh: Mesh) -> Any:
    return _exchange(mesh, lambda lax, axis, x: lax.psum(x, axis))


def _exchange(mesh: Mesh, work: Callable[..., Any]) -> Any:
    import jax
    from jax.sharding import PartitionSpec as Spec

    [axis] = mesh.axis_names
    body = functools.partial(work, jax.lax, axis)
    spread = jax.shard_map(body, mesh=mesh, in_specs=Spec(axis), out_specs=Spec(), check_vma=False)
    return jax.jit(spread)


def _run(program: Any, mesh: Mesh, rows: np.ndarray) -> np.ndarray:
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return np.asarray(program(jax.make_array_from_process_local_data(sharding, rows)))
