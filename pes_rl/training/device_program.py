"""The program of a run on JAX devices: some updates as one scan, and how its state lies on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import Config
from pes_rl.particles.device import DevicePopulation, PopulationState
from pes_rl.particles.lanes import LaneState, Scores
from pes_rl.training.lanes import Watch
from pes_rl.training.placement import AXIS, spread
from pes_rl.training.update import Row, TrainState, Update, layout

_MOST_UPDATES = 20


class DeviceState(NamedTuple):
    """All that the next update depends on, on devices."""

    train: TrainState
    population: PopulationState
    lanes: LaneState | tuple[()]


_Told = tuple[Row, Scores | tuple[()]]


def make_advance(
    update: Update, population: DevicePopulation, watch: Watch, mesh: Mesh, num_updates: int
) -> Callable[[DeviceState], tuple[DeviceState, _Told]]:
    """``(state) -> (state, (rows, scores))``: some updates; leaves are [num_updates, ...]."""

    def one(state: DeviceState, _: None) -> tuple[DeviceState, _Told]:
        plan, norm, train = update.ask(state.train)
        lanes, beside = watch.begin(train, state.lanes)
        rollout, particles, players = population.unroll(
            train.key, train.theta, plan, state.population, norm, beside
        )
        scores, lanes = watch.finish(train, lanes, players)
        train, row = update.tell(train, plan, rollout)
        return DeviceState(train, particles, lanes), (row, scores)

    def advance(state: DeviceState) -> tuple[DeviceState, _Told]:
        # The default would be TF32 on some GPUs, which is too coarse for physics and policies.
        with jax.default_matmul_precision("highest"):
            return jax.lax.scan(one, state, length=num_updates)

    if mesh.size == 1:
        return advance
    return spread(advance, mesh, (_specs(),), (_specs(), Spec()))


def _specs() -> Any:
    """How a `DeviceState` lies on a mesh; each leaf stands for a whole branch."""
    pairs: Any = Spec(AXIS)
    everywhere: Any = Spec()
    return DeviceState(layout(), pairs, everywhere)


def shardings(mesh: Mesh) -> Any:
    """`_specs` on a mesh."""
    return jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), _specs(), is_leaf=lambda x: isinstance(x, Spec)
    )


def updates_per_advance(config: Config) -> int:
    """Updates between two looks of the host: up to an evaluation's distance, and at most 20."""
    segment = config.num_particles * config.unroll_length
    return min(max(config.eval_every // segment, 1), _MOST_UPDATES)


def chunk_size(config: Config, num_devices: int) -> int | None:
    """Pairs unrolled at a time: the largest divisor of a device's share within what is asked."""
    share = config.num_pairs // num_devices
    if config.particle_chunk is None or config.particle_chunk >= share:
        return None
    return next(size for size in range(config.particle_chunk, 0, -1) if share % size == 0)
