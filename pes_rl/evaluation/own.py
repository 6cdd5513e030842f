"""Play on the JAX engine that trained the policy, all episodes in one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.envs.registry import resolve
from pes_rl.evaluation.episodes import Outcomes, Report, unheard
from pes_rl.evaluation.noise import QUIET, Noise
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    from pes_rl.envs.jax_environment import JaxEnvironment

_AT_A_TIME, _STEPS = 256, 100  # episodes side by side; env steps in one call of a program


def play_own(
    policy: SavedPolicy,
    episodes: int,
    seed: int,
    noise: Noise = QUIET,
    report: Report = unheard,
) -> Outcomes:
    """Play episodes whose seeds are ``seed``, ``seed + 1``, ..."""
    batches = -(-episodes // _AT_A_TIME)
    count = -(-episodes // batches)  # in every batch, so that one program serves all
    returns, lengths = np.zeros((batches, count)), np.zeros((batches, count), np.int64)
    ended, limit = np.zeros((batches, count), bool), policy.environment["horizon"]
    play = _own_player(policy, noise)
    for batch in range(batches):
        for now in play(count, seed + batch * count, _STEPS):
            lengths[batch], ended[batch] = now.lengths, now.ended
            for reward in now.rewards:  # one after the other, as in a recording
                returns[batch] += reward
            done = np.where(now.ended, 1.0, now.lengths / limit).sum()
            report(min(episodes, batch * count + float(done)))
    returns, lengths, ended = (x.ravel()[:episodes] for x in (returns, lengths, ended))
    return Outcomes(returns, lengths, ended, np.full(episodes, np.nan))


class Moment(NamedTuple):
    """E episodes after an env step.

    The environments' states, the rewards gained [E], NaN where a simulation broke down, and who was
    live [E] before the step.
    """

    state: Any
    reward: np.ndarray
    live: np.ndarray


def own_episodes(policy: SavedPolicy, episodes: int, seed: int) -> Iterator[Moment]:
    """Play on the engine that trained the policy until every episode is over.

    The first moment is the start, with nobody live. An episode ends by itself, at the time limit,
    or where the simulation breaks down.
    """
    before = np.zeros(episodes, np.int64)
    for now in _own_player(policy)(episodes, seed, 1):
        yield Moment(now.state, now.rewards.sum(axis=0), now.lengths > before)
        before = now.lengths


class _Now(NamedTuple):
    """E episodes after some env steps: their states, rewards [steps, E], lengths [E], ended [E]."""

    state: Any
    rewards: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray


def _own_player(
    policy: SavedPolicy, noise: Noise = QUIET
) -> Callable[[int, int, int], Iterator[_Now]]:
    """``(episodes, seed, steps)`` to the episodes as they are now and then.

    First comes the start, without rewards, then what is after ``steps`` env steps each.
    """
    import jax
    import jax.numpy as jnp

    from pes_rl.envs.jax_environment import first_inputs
    from pes_rl.envs.make import make_jax_environment
    from pes_rl.particles.episodes import make_player
    from pes_rl.training.compilation import use_compilation_cache

    use_compilation_cache()
    about = policy.environment
    made = resolve(about["name"], about["engine"], about.get("kwargs"))
    environment = make_jax_environment(made, about["engine"], about.get("backend"))
    if noise != QUIET:
        environment = _disturbed(environment, policy, noise)
    environment = first_inputs(environment, policy.policy.observation_size)
    begin, go_on = make_player(environment, policy.policy, policy.action, _STEPS)
    theta, norm = jax.tree.map(jnp.asarray, (policy.theta, policy.affine))

    def play(episodes: int, seed: int, steps: int) -> Iterator[_Now]:
        seeds = np.array([(seed + i) % 2**32 for i in range(episodes)], np.uint32)
        now, left = begin(jax.vmap(jax.random.key)(seeds)), about["horizon"]
        nothing = np.zeros(episodes, np.int64)
        yield _Now(now.environment, np.zeros((0, episodes)), nothing, nothing > 0)
        while left and not now.ended.all():
            steps = min(steps, left)
            now, rewards = go_on(theta, norm, now, np.int32(steps))
            left -= steps
            gained = np.asarray(rewards[:steps], np.float64)
            yield _Now(now.environment, gained, np.asarray(now.length), np.asarray(now.ended))

    return play


def _disturbed(environment: JaxEnvironment, policy: SavedPolicy, noise: Noise) -> JaxEnvironment:
    """``environment`` with ``noise``, whose key every particle carries beside its state."""
    import jax
    import jax.numpy as jnp

    seen, done = noise.spreads(policy)
    space = policy.action

    def draw(key: Any, spread: np.ndarray, like: Any) -> Any:
        return jax.random.normal(key, like.shape, like.dtype) * jnp.asarray(spread, like.dtype)

    def reset(key: Any) -> tuple[Any, Any]:
        state, observation = environment.reset(key)
        key, now = jax.random.split(jax.random.fold_in(key, 1))
        return (state, key), observation + draw(now, seen, observation)

    def step(state: Any, action: Any) -> tuple[Any, Any]:
        inner, key = state
        key, first, second = jax.random.split(key, 3)
        if space.kind == "box":
            low, high = space.bounds
            action = jnp.minimum(jnp.maximum(action + draw(first, done, action), low), high)
        inner, out = environment.step(inner, action)
        observation = out.observation + draw(second, seen, out.observation)
        return (inner, key), out._replace(observation=observation)

    return environment._replace(reset=reset, step=step)
