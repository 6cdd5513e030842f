"""A few unperturbed members beside a population, which play episode after episode for a score.

They are stepped in the same calls of the simulator as the population, where they cost next to
nothing, and in the same segments: theta changes under them, so an episode is played by as many
thetas as it has segments. A lane's episode is a whole one of the task, whatever the horizon of
training; the first ones are staggered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl import streams
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.jax_state import without_keys
from pes_rl.particles.beside import Players
from pes_rl.particles.episodes import Episodes
from pes_rl.particles.problem import stream_keys
from pes_rl.particles.restarts import restart, restart_block
from pes_rl.policies import Policy

Array = jax.Array


class Scores(NamedTuple):
    """Episodes that are over and belong to the next score, the first ``number`` of [2L].

    Attributes:
      number: int32, how many there are.
      returns: [2L]; NaN where the simulation broke down.
      lengths: int32 [2L] env steps.
      updates: int32 [2L], how many thetas played the episode, one after the other.
      drift: [2L], how far theta moved from the first to the last of them.
    """

    number: Array
    returns: Array
    lengths: Array
    updates: Array
    drift: Array


class LaneState(NamedTuple):
    """What L lanes carry from one update to the next.

    Attributes:
      wait: int32 [L], segments until the lane's first episode begins.
      begun: int32 [L], episodes begun.
      players: their episodes.
      updates: int32 [L], thetas that have played the present episode.
      first: [L, P], the first of them.
      scores: episodes that no score has been made of yet.
    """

    wait: Array
    begun: Array
    players: Players
    updates: Array
    first: Array
    scores: Scores


class Lanes(NamedTuple):
    """Pure functions.

    Attributes:
      init: ``(theta [P]) -> state``.
      begin: ``(key data, theta [P], state) -> state``, with new episodes where the last are over.
      finish: ``(theta [P], state, players) -> (scores, state)`` after the segment that the players
        come from. Where ``scores.number`` is L or more the next score begins after them.
    """

    init: Callable[[Array], LaneState]
    begin: Callable[[Array, Array, LaneState], LaneState]
    finish: Callable[[Array, LaneState, Players], tuple[Scores, LaneState]]


def make_lanes(
    environment: JaxEnvironment, policy: Policy, number: int, segment_length: int, horizon: int
) -> Lanes:
    """``number`` lanes whose episodes last ``horizon`` env steps at most, segments K of them."""
    environment = without_keys(environment)

    def init(theta: Array) -> LaneState:
        state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
        zeros, blank = jnp.zeros(number, jnp.int32), jnp.zeros(2 * number, jnp.int32)
        episodes = Episodes(
            jax.tree.map(lambda x: jnp.zeros((number, *x.shape), x.dtype), state),
            jnp.zeros((number, *observation.shape), theta.dtype),
            jnp.zeros((number, policy.state_size), theta.dtype),
            jnp.ones(number, bool),
            zeros,
        )
        floats = jnp.zeros(2 * number, theta.dtype)
        wait = np.arange(number) * -(-horizon // segment_length) // number
        return LaneState(
            jnp.asarray(wait, jnp.int32),
            zeros,
            Players(episodes, jnp.zeros(number, theta.dtype)),
            zeros,
            jnp.zeros((number, theta.size), theta.dtype),
            Scores(jnp.zeros((), jnp.int32), floats, blank, blank, floats),
        )

    def begin(key: Array, theta: Array, state: LaneState) -> LaneState:
        now, gained = state.players
        fresh = now.ended & (state.wait == 0)
        block = restart_block(environment, number, segment_length, horizon)
        keys = stream_keys(key, streams.LANE, state.begun)
        # As pairs of one member. Those that wait are stepped too, from a start like any other.
        old = jax.tree.map(lambda x: x[:, None], (now.environment, now.observation))
        started = restart(environment.reset, now.ended, keys, old, block)
        inner, observation = jax.tree.map(lambda x: x[:, 0], started)
        episodes = Episodes(
            inner,
            observation,
            jnp.where(fresh[:, None], 0, now.hidden),
            now.ended & ~fresh,
            jnp.where(fresh, 0, now.length),
        )
        return LaneState(
            state.wait,
            state.begun + fresh,
            Players(episodes, jnp.where(fresh, 0, gained)),
            jnp.where(fresh, 0, state.updates),
            jnp.where(fresh[:, None], theta, state.first),
            state.scores,
        )

    def finish(theta: Array, state: LaneState, players: Players) -> tuple[Scores, LaneState]:
        over = players.episodes.ended & (state.wait == 0)
        updates = state.updates + 1
        drift = jnp.linalg.norm(theta - state.first, axis=1)
        found = players.gained, players.episodes.length, updates, drift
        scores = _add(state.scores, over, found)
        kept = scores._replace(number=jnp.where(scores.number < number, scores.number, 0))
        wait = jnp.maximum(state.wait - 1, 0)
        return scores, LaneState(wait, state.begun, players, updates, state.first, kept)

    return Lanes(init, begin, finish)


def _add(scores: Scores, over: Array, found: tuple[Array, ...]) -> Scores:
    """``scores`` with what was ``found`` [L] where an episode is ``over`` [L]."""
    place = jnp.where(over, scores.number + jnp.cumsum(over) - 1, 2 * len(over))
    arrays = (
        old.at[place].set(new.astype(old.dtype), mode="drop")
        for old, new in zip(scores[1:], found, strict=True)
    )
    return Scores(scores.number + over.sum(dtype=jnp.int32), *arrays)
