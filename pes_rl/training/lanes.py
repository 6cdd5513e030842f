"""Evaluation lanes of a run on JAX devices: the score that training gets for next to nothing.

They act with the theta that is scored and saved. The few of them are spread over the devices, and
everywhere is known where all of them are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.config import Config
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.particles.beside import Beside, Players, shares
from pes_rl.particles.lanes import LaneState, Scores, make_lanes
from pes_rl.policies import Policy
from pes_rl.storage.metrics import LANES_SCORED
from pes_rl.training.placement import AXIS
from pes_rl.training.protocol import Evaluation
from pes_rl.training.update import TrainState


class Watch(NamedTuple):
    """Pure functions, for the share of the lanes that is on this device; none do nothing.

    Attributes:
      init: ``(theta [P]) -> state``.
      begin: ``(train state, state) -> (state, who is to be stepped here)``.
      finish: ``(train state, state, players) -> (scores, state)``, the train state that began.
    """

    init: Callable[[jax.Array], LaneState | tuple[()]]
    begin: Callable[[TrainState, Any], tuple[Any, Beside | None]]
    finish: Callable[[TrainState, Any, Any], tuple[Scores | tuple[()], Any]]


def make_watch(
    config: Config, environment: JaxEnvironment, policy: Policy, num_devices: int
) -> Watch:
    """The configured lanes on ``num_devices`` along the mesh axis ``"pairs"`` (or on just one)."""
    number, horizon = config.eval_lanes, config.episode_length
    if not number:
        return Watch(lambda theta: (), lambda train, state: (state, None), lambda *_: ((), ()))
    lanes = make_lanes(environment, policy, number, config.unroll_length, horizon)
    dealt = shares(number, num_devices)

    def begin(train: TrainState, state: LaneState) -> tuple[LaneState, Beside]:
        state = lanes.begin(train.key, train.average, state)
        players = state.players
        if num_devices > 1:
            rows = jnp.asarray(dealt.rows)[jax.lax.axis_index(AXIS)]
            players = jax.tree.map(lambda x: x[rows], players)
        return state, Beside(policy.unpack(train.average), players, horizon)

    def finish(train: TrainState, state: LaneState, players: Players) -> tuple[Scores, LaneState]:
        def gather(values: jax.Array) -> jax.Array:
            return jax.lax.all_gather(values, AXIS)[dealt.part, dealt.place]

        if num_devices > 1:
            players = jax.tree.map(gather, players)
        return lanes.finish(train.average, state, players)

    return Watch(lanes.init, begin, finish)


def lane_metrics(config: Config, scores: Scores | tuple[()], length: float) -> dict[str, Any]:
    """The ``eval_lanes/`` values of an update's metrics row, NumPy ``scores``; often none.

    There is a score once as many episodes are over as there are lanes; ``length`` is that of a
    perturbation.
    """
    if not scores or scores.number < config.eval_lanes:
        return {}
    _, returns, lengths, updates, drift = (x[: int(scores.number)] for x in _arrays(scores))
    result = Evaluation(returns.astype(np.float64), lengths)
    return {
        LANES_SCORED: result.mean,
        "eval_lanes/episode_return_std": result.std,
        "eval_lanes/episode_length": float(lengths.mean()),
        "eval_lanes/episodes": len(returns),
        "eval_lanes/broken_episodes": result.broken,
        "eval_lanes/updates": float(updates.mean()),
        "eval_lanes/drift": float(drift.mean(dtype=np.float64) / length),
    }


def _arrays(scores: Scores) -> list[np.ndarray]:
    return [np.atleast_1d(x) for x in scores]
