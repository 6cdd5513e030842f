"""The update compiled for host engines, in one process or with pairs spread over several.

In several processes losses of all pairs are exchanged, then each computes the same differences.
The weighted sum of noise and the observation statistics are formed in fixed blocks of consecutive
pairs that are added in their order (`pes_rl.training.placement`), so they do not depend on how many
processes there are; theta, the optimiser and the statistics are the same everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import Config
from pes_rl.errors import UserError
from pes_rl.estimators import Perturbation, Segment, members
from pes_rl.particles.rollout import Rollout, Waypoints
from pes_rl.policies.normalizer import Affine
from pes_rl.training.backend import host_device
from pes_rl.training.placement import AXIS, complete, distribute, make_placement, spread
from pes_rl.training.processes import Processes
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
    if config.num_pairs % processes.size:
        nearest = max(1, config.num_pairs // processes.size) * processes.size
        raise UserError(
            f"num_pairs {config.num_pairs} cannot be spread evenly over {processes.size} "
            f"processes; use --num-pairs {nearest}"
        )
    return config.num_pairs // processes.size


def num_inputs(config: Config, observation_size: int) -> int:
    """How many numbers of an observation the policy gets; UserError where there are fewer."""
    wanted = config.num_inputs or observation_size
    if wanted > observation_size:
        raise UserError(
            f"num_inputs {wanted} is more than the {observation_size} numbers of an observation "
            f"of {config.env!r}"
        )
    return wanted


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

    if processes.size == 1:
        return _compile_here(update.init, ask, turn)
    return _spread(processes.mesh, update.init, ask, turn)


@contextlib.contextmanager
def host_math() -> Iterator[None]:
    """Losses in float64, and beside the physics: an accelerator would cost a transfer an update."""
    with jax.enable_x64(True), jax.default_device(host_device()):
        yield


def _compile_here(init: Any, ask: Any, turn: Any) -> Programs:
    """For all pairs in this process."""
    return _as_called_from_a_host(
        host_math,
        *map(jax.jit, (init, ask, turn)),
        own=np.asarray,
        put=lambda rollout: rollout,
        restore=lambda tree: jax.tree.map(jnp.asarray, tree),
    )


def _spread(mesh: Mesh, init: Any, ask: Any, turn: Any) -> Programs:
    """For the pairs of one process of several, with collective calls inside the programs."""
    pairs = NamedSharding(mesh, _PAIRS)
    plan = Perturbation(*[_PAIRS] * 3)
    rollout = Rollout(Segment(*[_PAIRS] * 4), _PAIRS, _PAIRS, Waypoints(_PAIRS, _PAIRS))
    asked = Asked(layout(), plan, _EVERYWHERE, _PAIRS)
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), layout(), is_leaf=lambda x: isinstance(x, Spec)
    )

    def put(rollout: Rollout) -> Rollout:
        return jax.tree.map(
            lambda rows: jax.make_array_from_process_local_data(pairs, rows), rollout
        )

    return _as_called_from_a_host(
        lambda: jax.enable_x64(True),
        jax.jit(init, out_shardings=shardings),
        jax.jit(spread(ask, mesh, (layout(),), asked)),
        jax.jit(spread(turn, mesh, (layout(), plan, rollout), (layout(), _EVERYWHERE, asked))),
        own=lambda array: np.asarray(array.addressable_shards[0].data),
        put=put,
        restore=lambda tree: jax.tree.map(distribute, tree, complete(tree, shardings)),
    )


def _as_called_from_a_host(
    context: Callable[[], AbstractContextManager[Any]],
    init: Any,
    ask: Any,
    turn: Any,
    *,
    own: Callable[[jax.Array], np.ndarray],
    put: Callable[[Rollout], Rollout],
    restore: Callable[[TrainState], TrainState],
) -> Programs:
    """Compiled functions, called in a context, as the `Programs` that they are to a host.

    ``own`` takes this process's part of an array, ``put`` makes arrays of all pairs of its rollout.
    """

    def within(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with context():
                return work(*arguments)

        return call

    def tell_and_ask(asked: Asked, rollout: Rollout):
        state, row, asked = turn(asked.state, asked.plan, put(rollout))
        return state, Row(*map(own, row)), asked

    def local(asked: Asked) -> Request:
        wanted = asked.theta, asked.plan.restart, asked.plan.step_limit, asked.norm
        return Request(*jax.tree.map(own, wanted))

    return Programs(within(init), within(ask), within(tell_and_ask), local, within(restore))
