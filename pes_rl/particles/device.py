"""N antithetic pairs in a JAX environment, unrolled for one segment.

Every array of a population is shaped [N, 2, ...] (particle) or [N] (pair). What a pair does depends
on its number and on theta, never on where it is placed, so that pairs can be spread over devices
and unrolled a chunk at a time.

An environment's state is not held still when its episode has ended or is cut: pairs restart at
segment boundaries, and until then only what counts (rewards, steps, observations, flags) is masked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.jax_state import without_keys
from pes_rl.estimators.core import Perturbation, Segment
from pes_rl.particles.beside import Advance, Beside, Players, joined, parted, shares, together
from pes_rl.particles.paired import PairedNumpy, paired_weights
from pes_rl.particles.problem import stream_keys
from pes_rl.particles.restarts import restart, restart_block
from pes_rl.particles.rollout import NOWHERE, Rollout, Spacing, Waypoints
from pes_rl.policies import Policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Affine

Array = jax.Array


class PopulationState(NamedTuple):
    """Everything a population carries from one segment to the next.

    Attributes:
      pair: int32 [N], the pairs' numbers; start states are keyed by them.
      episodes: int32 [N], episodes begun so far.
      environment: states of the environments, leaves [N, 2, ...]; typed keys are there as the
        numbers that they are made of.
      observation: [N, 2, O], what the policies see next.
      hidden: [N, 2, H], the policies' hidden states.
      ended: bool [N, 2], whether a member has terminated in its present episode.
    """

    pair: Array
    episodes: Array
    environment: Any
    observation: Array
    hidden: Array
    ended: Array


class DevicePopulation(NamedTuple):
    """Two pure functions.

    Attributes:
      init: ``(dtype) -> state`` of N pairs that have not begun an episode.
      unroll: ``(key data, theta [P], plan, state, affine, beside) -> (Rollout, state, players)``
        for any subset of the pairs, with who else is stepped or None.
    """

    init: Callable[[Any], PopulationState]
    unroll: Callable[
        [Array, Array, Perturbation, PopulationState, Affine, Beside | None],
        tuple[Rollout, PopulationState, Players | None],
    ]


def make_population(
    environment: JaxEnvironment,
    policy: Policy,
    num_pairs: int,
    segment_length: int,
    perturb_std: float,
    *,
    observe: bool = True,
    chunk: int | None = None,
    dtype: Any = None,
    spacing: Spacing = NOWHERE,
    horizon: int | None = None,
) -> DevicePopulation:
    """A population of ``num_pairs`` pairs.

    Args:
      environment: steps one particle.
      policy: acts for it.
      num_pairs: N.
      segment_length: K, env steps of one segment at most.
      perturb_std: sigma.
      observe: collect the statistics of what live particles observe.
      chunk: unroll this many pairs at a time (a divisor of the pairs given to ``unroll``).
      dtype: of the policy's matrix products; theta's if not given.
      spacing: where on their way the members are looked at.
      horizon: T, env steps of an episode at most; K if not given.
    """
    environment = without_keys(environment)

    def restarted(key: Array, chosen: Array, state: PopulationState) -> PopulationState:
        keys = stream_keys(key, streams.RESET, state.episodes, state.pair)
        block = restart_block(environment, len(keys), segment_length, horizon or segment_length)
        old = state.environment, state.observation
        inner, observation = restart(environment.reset, chosen, keys, old, block)
        return state._replace(
            episodes=state.episodes + chosen.astype(jnp.int32),
            environment=inner,
            observation=observation,
            hidden=jnp.where(chosen[:, None, None], 0, state.hidden),
            ended=state.ended & ~chosen[:, None],
        )

    def segment(
        key: Array,
        theta: Array,
        plan: Perturbation,
        state: PopulationState,
        norm: Affine,
        beside: Beside | None,
    ) -> tuple[Rollout, PopulationState, Players | None]:
        weights = paired_weights(policy, theta, plan.noise, perturb_std, dtype)
        state = restarted(key, plan.restart, state)
        tally = _Tally.zeros(state.observation, observe, spacing.number)
        inner, advance = _flat(state.environment), jax.vmap(environment.step)
        if beside is not None:
            inner = joined(inner, beside.players)
            advance = together(environment, policy, norm, beside, 2 * len(state.pair))
        step = make_step(advance, environment.action, policy, weights, norm, observe, spacing)

        def body(loop, j):
            state, tally = loop
            return step(state, tally, j, j < plan.step_limit), None

        loop = state._replace(environment=inner), tally
        (state, tally), _ = jax.lax.scan(body, loop, jnp.arange(segment_length, dtype=jnp.int32))
        inner, players = state.environment, None
        if beside is not None:
            inner, players = parted(inner, 2 * len(state.pair))
        state = state._replace(environment=_pairs(inner))
        result = Segment(
            jnp.where(tally.invalid, 0, -tally.reward), tally.steps, state.ended, tally.invalid
        )
        return Rollout(result, tally.first, tally.second, tally.waypoints), state, players

    unroll = partial(_in_turn, segment, chunk)
    return DevicePopulation(partial(_unbegun, environment, policy, num_pairs), unroll)


def _in_turn(
    segment: Callable[..., Any],
    chunk: int | None,
    key: Array,
    theta: Array,
    plan: Perturbation,
    state: PopulationState,
    norm: Affine,
    beside: Beside | None = None,
) -> tuple[Rollout, PopulationState, Players | None]:
    """A ``segment`` of so many pairs at a time, one chunk after the other; of all if None."""
    share = state.pair.size
    if chunk is None or chunk >= share:
        return segment(key, theta, plan, state, norm, beside)
    parts = share // chunk, chunk
    split = jax.tree.map(lambda x: x.reshape(*parts, *x.shape[1:]), (plan, state))
    dealt = None if beside is None else shares(len(beside.players.gained), parts[0])

    def one(part: Any) -> Any:
        (plan, state), rows = part
        own = beside
        if beside is not None:
            own = beside._replace(players=jax.tree.map(lambda x: x[rows], beside.players))
        return segment(key, theta, plan, state, norm, own)

    *out, players = jax.lax.map(one, (split, None if dealt is None else dealt.rows))
    rollout, state = jax.tree.map(lambda x: x.reshape(share, *x.shape[2:]), out)
    if dealt is not None:
        players = jax.tree.map(lambda x: x[dealt.part, dealt.place], players)
    return rollout, state, players


def _unbegun(
    environment: JaxEnvironment, policy: Policy, num_pairs: int, kind: Any
) -> PopulationState:
    """N pairs before their first episode; observations and memories are of the dtype ``kind``."""
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    blank = jax.tree.map(lambda x: jnp.zeros((num_pairs, 2, *x.shape), x.dtype), state)
    return PopulationState(
        pair=jnp.arange(num_pairs, dtype=jnp.int32),
        episodes=jnp.zeros(num_pairs, jnp.int32),
        environment=blank,
        observation=jnp.zeros((num_pairs, 2, *observation.shape), kind),
        hidden=jnp.zeros((num_pairs, 2, policy.state_size), kind),
        ended=jnp.zeros((num_pairs, 2), bool),
    )


class _Tally(NamedTuple):
    """What happened since the segment began: [N, 2, ...] by particle, [N, O] by pair."""

    reward: Array
    steps: Array
    invalid: Array
    first: Array
    second: Array
    waypoints: Waypoints

    @classmethod
    def zeros(cls, observation: Array, observe: bool, intervals: int) -> _Tally:
        particles, kind = observation.shape[:2], observation.dtype
        size = observation.shape[2] if intervals else 0
        waypoints = Waypoints(
            jnp.zeros((*particles, intervals + 1, size), kind),
            jnp.zeros((*particles, intervals), kind),
        )
        sums = jnp.zeros((len(observation), observation.shape[2] if observe else 0), kind)
        count, flag = jnp.zeros(particles, jnp.int32), jnp.zeros(particles, bool)
        return cls(jnp.zeros(particles, kind), count, flag, sums, sums, waypoints)


def make_step(
    advance: Advance,
    action_space: ActionSpec,
    policy: Policy,
    weights: tuple[Any, ...],
    norm: Affine,
    observe: bool,
    spacing: Spacing = NOWHERE,
) -> Callable[[PopulationState, _Tally, Array, Array], tuple[PopulationState, _Tally]]:
    """``(state, tally, j, allowed bool [N]) -> (state, tally)``: env step j of all particles.

    ``advance`` steps their environments, whose states and actions have the leading axis [2N], as
    the environment's own vmap wants it.
    """
    numpy = PairedNumpy()

    def pass_by(way: Waypoints, j: Array, live: Array, now: Array, then: Array, loss: Array):
        interval, since = j // spacing.interval, j % spacing.interval
        start = jnp.where(since == 0, now, way.deviation[:, :, interval])
        # Beyond a cut particles step on, so what they saw last has to be kept.
        end = jnp.where(live[..., None], then, way.deviation[:, :, -1])
        counted = jnp.asarray(spacing.discount, loss.dtype) ** since * loss
        deviation = way.deviation.at[:, :, interval].set(start).at[:, :, -1].set(end)
        return Waypoints(deviation, way.loss.at[:, :, interval].add(counted))

    def step(state: PopulationState, tally: _Tally, j: Array, allowed: Array):
        live = ~state.ended & allowed[:, None]
        seen = state.observation
        output, hidden = policy.apply(numpy, weights, norm.normalize(jnp, seen), state.hidden)
        action = action_space.to_action(jnp, output)
        inner, out = advance(state.environment, _flat(action))
        observation, reward, terminated = _pairs(out)
        sound = jnp.isfinite(reward) & jnp.isfinite(observation).all(axis=-1)
        if observe:
            deviation = jnp.where(live[..., None], seen - norm.shift, 0)
            tally = tally._replace(
                first=tally.first + deviation.sum(axis=1),
                second=tally.second + (deviation**2).sum(axis=1),
            )
        gain = jnp.where(live & sound, reward.astype(tally.reward.dtype), 0)
        if spacing.number:
            now, then = seen - norm.shift, observation - norm.shift
            tally = tally._replace(waypoints=pass_by(tally.waypoints, j, live, now, then, -gain))
        tally = tally._replace(
            reward=tally.reward + gain,
            steps=tally.steps + live.astype(jnp.int32),
            invalid=tally.invalid | (live & ~sound),
        )
        state = state._replace(
            environment=inner,
            observation=observation.astype(seen.dtype),
            hidden=hidden,
            ended=state.ended | (live & (terminated.astype(bool) | ~sound)),
        )
        return state, tally

    return step


def _flat(tree: Any) -> Any:
    """Leaves [N, 2, ...] as [2N, ...]."""
    return jax.tree.map(lambda x: x.reshape(2 * len(x), *x.shape[2:]), tree)


def _pairs(tree: Any) -> Any:
    """Leaves [2N, ...] as [N, 2, ...]."""
    return jax.tree.map(lambda x: x.reshape(len(x) // 2, 2, *x.shape[1:]), tree)
