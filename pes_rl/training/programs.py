"""The update compiled for host engines, in one process or with pairs spread over several.

In several processes losses of all pairs are exchanged, then each computes the same differences.
The weighted sum of noise and the observation statistics are formed in fixed blocks of consecutive
pairs that are added in their order (`pes_rl.training.placement`), so they do not depend on how many
processes there are; theta, the optimiser and the statistics are the same everywhere.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import Config
from pes_rl.errors import UserError
from pes_rl.estimators import Perturbation, Segment, members
from pes_rl.particles.rollout import Rollout
from pes_rl.policies.normalizer import Affine
from pes_rl.training.placement import AXIS, complete, distribute, make_placement
from pes_rl.training.processes import Processes, check_engine
from pes_rl.training.update import Row, TrainState, layout, make_update

_PAIRS: Any = Spec(AXIS)
_EVERYWHERE: Any = Spec()


class Request(NamedTuple):
    """What the n pairs of this process run next, NumPy arrays.

    Attributes:
      theta: [n, 2, P] the members' parameters.
      restart: bool [n], pairs that begin an episode.
      step_limit: int32 [n] env steps of the segment.
      norm: observation normalisation in force.
    """

    theta: np.ndarray
    restart: np.ndarray
    step_limit: np.ndarray
    norm: Affine


class Asked(NamedTuple):
    """What `Update.ask` said, and the members' parameters [N, 2, P] that follow from it."""

    state: TrainState
    plan: Perturbation
    norm: Affine
    theta: jax.Array


class Programs(NamedTuple):
    """The update's functions, compiled.

    Attributes:
      init: ``(theta [P]) -> state``.
      ask: ``(state) -> asked``.
      turn: ``(asked, rollout of the own pairs) -> (state, row, asked)``, tell and ask in one call.
      local: ``(asked) -> request``, this process's part.
      restore: from a tree of NumPy arrays of all pairs back to a state.
    """

    init: Callable[[np.ndarray], TrainState]
    ask: Callable[[TrainState], Asked]
    turn: Callable[[Asked, Rollout], tuple[TrainState, Row, Asked]]
    local: Callable[[Asked], Request]
    restore: Callable[[TrainState], TrainState]


def check_share(config: Config, processes: Processes) -> int:
    """How many pairs each process has; UserError where they cannot be spread evenly."""
    if processes.size > 1:
        check_engine(config)
    if config.num_pairs % processes.size:
        nearest = max(1, config.num_pairs // processes.size) * processes.size
        raise UserError(
            f"num_pairs {config.num_pairs} cannot be spread evenly over {processes.size} "
            f"processes; use --num-pairs {nearest}"
        )
    return config.num_pairs // processes.size


def make_programs(config: Config, observation_size: int, processes: Processes) -> Programs:
    """The configured update for this process's share of the pairs."""
    placement = make_placement(config.num_pairs, processes.size)
    update = make_update(config, observation_size, placement)

    def ask(state: TrainState) -> Asked:
        plan, norm, state = update.ask(state)
        return Asked(state, plan, norm, members(state.theta, plan.noise, config.perturb_std))

    def turn(state: TrainState, plan: Perturbation, rollout: Rollout):
        state, row = update.tell(state, plan, rollout)
        return state, row, ask(state)

    compile_all = _compile_here if processes.size == 1 else functools.partial(_spread, processes)
    return compile_all(update.init, ask, turn)


@contextlib.contextmanager
def host_math() -> Iterator[None]:
    """Losses in float64, and beside the physics: an accelerator would cost a transfer an update."""
    with jax.enable_x64(True), jax.default_device(_cpu()):
        yield


@functools.cache
def _cpu() -> Any:
    return jax.local_devices(backend="cpu")[0]


def _compile_here(init: Any, ask: Any, turn: Any) -> Programs:
    """For all pairs in this process."""
    init, ask, turn = jax.jit(init), jax.jit(ask), jax.jit(turn)

    def within(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with host_math():
                return work(*arguments)

        return call

    def local(asked: Asked) -> Request:
        wanted = asked.theta, asked.plan.restart, asked.plan.step_limit, asked.norm
        return Request(*jax.tree.map(np.asarray, wanted))

    def both(asked: Asked, rollout: Rollout):
        state, row, asked = turn(asked.state, asked.plan, rollout)
        return state, Row(*map(np.asarray, row)), asked

    return Programs(
        within(init),
        within(ask),
        within(both),
        local,
        within(lambda tree: jax.tree.map(jnp.asarray, tree)),
    )


def _spread(processes: Processes, init: Any, ask: Any, turn: Any) -> Programs:
    """For the pairs of one process of several, with collective calls inside the programs."""
    mesh = processes.mesh
    pairs = NamedSharding(mesh, _PAIRS)
    plan = Perturbation(*[_PAIRS] * 3)
    rollout = Rollout(Segment(*[_PAIRS] * 4), _PAIRS, _PAIRS)
    asked = Asked(layout(), plan, _EVERYWHERE, _PAIRS)
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), layout(), is_leaf=lambda x: isinstance(x, Spec)
    )

    def spread(function: Any, inputs: tuple, outputs: Any) -> Any:
        return jax.jit(
            jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
        )

    spread_init = jax.jit(init, out_shardings=shardings)
    spread_ask = spread(ask, (layout(),), asked)
    spread_turn = spread(turn, (layout(), plan, rollout), (layout(), _EVERYWHERE, asked))

    def own(array: jax.Array) -> np.ndarray:
        return np.asarray(array.addressable_shards[0].data)

    def local(asked: Asked) -> Request:
        wanted = asked.theta, asked.plan.restart, asked.plan.step_limit, asked.norm
        return Request(*jax.tree.map(own, wanted))

    def both(asked: Asked, rollout: Rollout):
        with jax.enable_x64(True):
            everywhere = jax.tree.map(
                lambda rows: jax.make_array_from_process_local_data(pairs, rows), rollout
            )
            state, row, asked = spread_turn(asked.state, asked.plan, everywhere)
        return state, Row(*map(own, row)), asked

    def in_x64(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with jax.enable_x64(True):
                return work(*arguments)

        return call

    def restore(tree: TrainState) -> TrainState:
        return jax.tree.map(distribute, tree, complete(tree, shardings))

    return Programs(in_x64(spread_init), in_x64(spread_ask), both, local, in_x64(restore))
