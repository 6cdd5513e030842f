"""Score a saved policy in the official Gymnasium environment, or on its engine if there is none."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import count
from pes_rl.envs.registry import resolve
from pes_rl.errors import UserError
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.files import Place
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import versions
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_OFFICIAL = ("mujoco", "gymnasium", "numpy")
_OWN = ("jax", "jaxlib", "numpy")
_PACKAGES = {  # by what the names of a package's environments begin with
    "brax": ("brax",),
    "playground": ("playground", "mujoco", "mujoco-mjx"),
    "gymnax": ("gymnax",),
}
_AT_A_TIME, _STEPS = 256, 100  # episodes side by side; env steps in one call of a program


def evaluate(path: Place, episodes: int = 100, seed: int = 0) -> dict[str, Any]:
    """Play full episodes with a saved policy, deterministically.

    Environments of JAX engines without an official twin are played on the engine that trained the
    policy, all episodes in one compiled program. An episode in which the simulation breaks down,
    by an observation or a reward that is not finite, is counted apart and has no return.

    Args:
      path: a run, its folder, a policy folder or ``zoo/NAME``.
      episodes: number of episodes.
      seed: episode i is reset with seed ``seed + i``.

    Returns:
      ``episode_return_mean``, ``episode_return_std`` (population), ``episode_return_interval``
      (95 %, Student's t, of the mean; None for one episode) and ``episode_length_mean`` of the
      episodes that did not break down (NaN if all did), ``broken_episodes``, how many did,
      ``episodes``, how many were played, ``seed``, ``policy``, ``environment``, ``versions`` that
      it was scored with, and ``version_changes`` since it was trained, as
      ``"mujoco 3.17.0 -> 3.18.0"``.

    Raises:
      UserError: there is no policy at ``path``, or it cannot be read.
    """
    episodes = count("episodes", episodes, least=1, most=MOST_EPISODES)
    seed = count("seed", seed, least=0)
    policy = load_policy(path)
    own = _own_name(policy)
    returns, lengths = (play_own if own else play_official)(policy, episodes, seed)
    return {
        **summarize(returns, lengths),
        "seed": seed,
        "policy": str(policy.path),
        "environment": policy.scored_in,
        "versions": scoring_versions(own),
        "version_changes": version_changes(policy),
    }


def summarize(returns: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Mean, spread and interval of episode returns [E], and the mean of lengths [E], by name.

    Episodes that broke down, whose return is NaN, are only counted.
    """
    episodes, sound = len(returns), np.isfinite(returns)
    returns, lengths = returns[sound], lengths[sound]
    mean = spread = length = math.nan
    if returns.size:
        mean, spread, length = (float(x) for x in (returns.mean(), returns.std(), lengths.mean()))
    interval = None
    if returns.size > 1:
        error = float(returns.std(ddof=1)) / math.sqrt(returns.size)
        half = _student_quantile(returns.size - 1) * error
        interval = [mean - half, mean + half]
    return {
        "episode_return_mean": mean,
        "episode_return_std": spread,
        "episode_return_interval": interval,
        "episode_length_mean": length,
        "broken_episodes": episodes - returns.size,
        "episodes": episodes,
    }


def _student_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t to 0.12 % (Abramowitz and Stegun 1964, 26.7.5)."""
    exact = {1: 12.7062, 2: 4.3027}
    if freedom in exact:
        return exact[freedom]
    z = 1.959964
    series = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(series, 1))


def scoring_versions(own: str | None = None) -> dict[str, str | None]:
    """The packages that a score depends on, in the official environment or in ``own``, a name."""
    packages = _OFFICIAL if own is None else (*_PACKAGES.get(own.partition("/")[0], ()), *_OWN)
    return {name: versions().get(name) for name in packages}


def version_changes(policy: SavedPolicy) -> list[str]:
    """What has changed since training of `scoring_versions`, as ``"mujoco 3.17.0 -> 3.18.0"``.

    So has, with the number of env steps, the time limit of a Gymnasium environment.
    """
    about, scoring = policy.environment, scoring_versions(_own_name(policy))
    pairs: dict[str, Any] = {n: (policy.versions.get(n), now) for n, now in scoring.items()}
    if about["gymnasium_id"] is not None and "horizon" in about:
        made_with = about.get("kwargs"), about.get("wrappers")
        limit = resolve(about["gymnasium_id"], about["engine"], *made_with).horizon
        pairs["time limit"] = about["horizon"], limit or about["horizon"]
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def _own_name(policy: SavedPolicy) -> str | None:
    """The environment's name where no official one scores the policy."""
    return None if policy.environment["gymnasium_id"] else policy.environment["name"]


def play_official(policy: SavedPolicy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Play in the official environment; returns [E] and lengths [E] of the episodes.

    Their seeds are ``seed``, ``seed + 1``, ... Returns of episodes that broke down are NaN.
    """
    from pes_rl.envs.gymnasium_make import make_env

    returns, lengths = [], []
    about = policy.environment
    made = make_env(about["gymnasium_id"], about.get("kwargs"), about.get("wrappers"))
    with single_threaded_math(), contextlib.closing(made) as env:
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed + episode)
            total, length = 0.0, 0
            for reward in play(policy, env, observation):
                total += reward
                length += 1
            returns.append(total)
            lengths.append(length)
    return np.array(returns), np.array(lengths)


def play_own(policy: SavedPolicy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Play on the engine that trained the policy; returns [E] and lengths [E] of the episodes.

    Returns of episodes that broke down are NaN.
    """
    batches = -(-episodes // _AT_A_TIME)
    count = -(-episodes // batches)  # in every batch, so that one program serves all
    returns, lengths = np.zeros((batches, count)), np.zeros((batches, count), np.int64)
    play = _own_player(policy)
    for batch in range(batches):
        for _, rewards, so_far in play(count, seed + batch * count, _STEPS):
            lengths[batch] = so_far
            for reward in rewards:  # one after the other, as in a recording
                returns[batch] += reward
    return returns.ravel()[:episodes], lengths.ravel()[:episodes]


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
    for state, rewards, lengths in _own_player(policy)(episodes, seed, 1):
        yield Moment(state, rewards.sum(axis=0), lengths > before)
        before = lengths


def _own_player(
    policy: SavedPolicy,
) -> Callable[[int, int, int], Iterator[tuple[Any, np.ndarray, np.ndarray]]]:
    """``(episodes, seed, steps)`` to the states, rewards [steps, E] and lengths [E] now and then.

    First come those of the start, without rewards, then those after ``steps`` env steps each.
    """
    import jax
    import jax.numpy as jnp

    from pes_rl.envs.make import make_jax_environment
    from pes_rl.particles.episodes import make_player
    from pes_rl.training.compilation import use_compilation_cache

    use_compilation_cache()
    about = policy.environment
    made = resolve(about["name"], about["engine"], about.get("kwargs"))
    environment = make_jax_environment(made, about["engine"], about.get("backend"))
    begin, go_on = make_player(environment, policy.policy, policy.action, _STEPS)
    theta, norm = jax.tree.map(jnp.asarray, (policy.theta, policy.affine))

    def play(episodes: int, seed: int, steps: int) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        seeds = np.array([(seed + i) % 2**32 for i in range(episodes)], np.uint32)
        now, left = begin(jax.vmap(jax.random.key)(seeds)), about["horizon"]
        yield now.environment, np.zeros((0, episodes)), np.zeros(episodes, np.int64)
        while left and not now.ended.all():
            steps = min(steps, left)
            now, rewards = go_on(theta, norm, now, np.int32(steps))
            left -= steps
            yield now.environment, np.asarray(rewards[:steps], np.float64), np.asarray(now.length)

    return play


def play(policy: SavedPolicy, env: gymnasium.Env, observation: Any) -> Iterator[float]:
    """Play from the first ``observation`` of an episode to its end, deterministically.

    Each reward is yielded right after its env step, while ``env`` is in the state it led to. Where
    the simulation breaks down the episode ends, with NaN for a reward.
    """
    from pes_rl.envs.gymnasium_make import time_limit
    from pes_rl.envs.gymnasium_spaces import native

    _check_fit(policy, env)
    # The environment's time limit, or where there is none, the horizon of training.
    limit = time_limit(env) or policy.environment.get("horizon", math.inf)
    state, over, length = None, False, 0
    while not over:
        action, state = policy.predict(observation, state)
        act = native(env.action_space, action)
        observation, reward, terminated, truncated, _ = env.step(act)
        length += 1
        # MuJoCo takes a control that is not a number for 0, and goes on.
        seen = policy.observation.flatten(observation)
        sound = all(np.isfinite(part).all() for part in (action, seen, reward))
        over = terminated or truncated or length >= limit or not sound
        yield float(reward) if sound else math.nan


def _check_fit(policy: SavedPolicy, env: gymnasium.Env) -> None:
    """UserError where ``env`` is no longer what the policy was trained in."""
    from pes_rl.envs.gymnasium_spaces import action_spec, observation_spec

    name = policy.scored_in
    now = action_spec(env.action_space, name)
    seen = observation_spec(env.observation_space, name)
    for what, is_now, was in (
        ("actions are", (now.kind, now.size), (policy.action.kind, policy.action.size)),
        ("observations have length", seen.size, policy.observation.size),
    ):
        if is_now != was:
            raise UserError(
                f"environment {name!r} has changed since the policy was trained: its {what} "
                f"{is_now}, the policy's {was}; train anew"
            )
