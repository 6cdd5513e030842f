"""Score a saved policy in the official Gymnasium environment, or on its engine if there is none."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.config.values import count
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.files import Place
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import versions
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_OFFICIAL = ("mujoco", "gymnasium", "numpy")
_OWN = ("brax", "jax", "jaxlib", "numpy")
_AT_A_TIME = 256


def evaluate(path: Place, episodes: int = 100, seed: int = 0) -> dict[str, Any]:
    """Play full episodes with a saved policy, deterministically.

    Brax's environments have no official twin: they are played on the engine that trained the
    policy, with the same NumPy policy.

    Args:
      path: a run, its folder, a policy folder or ``zoo/NAME``.
      episodes: number of episodes.
      seed: episode i is reset with seed ``seed + i``.

    Returns:
      ``episode_return_mean``, ``episode_return_std`` (population), ``episode_return_interval``
      (95 %, Student's t, of the mean; None for one episode), ``episode_length_mean``,
      ``episodes``, ``seed``, ``policy``, ``environment``, ``versions`` that it was scored with,
      and ``version_changes`` since it was trained, as ``"mujoco 3.17.0 -> 3.18.0"``.

    Raises:
      UserError: there is no policy at ``path``, or it cannot be read.
    """
    episodes = count("episodes", episodes, least=1)
    seed = count("seed", seed, least=0)
    policy = load_policy(path)
    official = policy.environment["gymnasium_id"] is not None
    returns, lengths = (play_official if official else play_own)(policy, episodes, seed)
    return {
        **summarize(returns, lengths),
        "seed": seed,
        "policy": str(policy.path),
        "environment": policy.scored_in,
        "versions": scoring_versions(official),
        "version_changes": version_changes(policy),
    }


def summarize(returns: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Mean, spread and interval of episode returns [E], and the mean of lengths [E], by name."""
    mean, episodes = float(returns.mean()), len(returns)
    interval = None
    if episodes > 1:
        error = float(returns.std(ddof=1)) / math.sqrt(episodes)
        half = _student_quantile(episodes - 1) * error
        interval = [mean - half, mean + half]
    return {
        "episode_return_mean": mean,
        "episode_return_std": float(returns.std()),
        "episode_return_interval": interval,
        "episode_length_mean": float(lengths.mean()),
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


def scoring_versions(official: bool = True) -> dict[str, str | None]:
    """The packages that a score depends on, in the official environment or on Brax."""
    return {name: versions().get(name) for name in (_OFFICIAL if official else _OWN)}


def version_changes(policy: SavedPolicy) -> list[str]:
    """What has changed of `scoring_versions` since training, as ``"mujoco 3.17.0 -> 3.18.0"``."""
    scoring = scoring_versions(policy.environment["gymnasium_id"] is not None)
    pairs = {name: (policy.versions.get(name), now) for name, now in scoring.items()}
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def play_official(policy: SavedPolicy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Play in the official environment; returns [E] and lengths [E] of the episodes.

    Their seeds are ``seed``, ``seed + 1``, ...
    """
    from pes_rl.envs.gymnasium_engine import make_env

    returns, lengths = [], []
    env_id = policy.environment["gymnasium_id"]
    with single_threaded_math(), contextlib.closing(make_env(env_id)) as env:
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed + episode)
            total, length = 0.0, 0
            for reward in play(policy, env, observation):
                total += reward
                length += 1
            returns.append(total)
            lengths.append(length)
    return np.array(returns), np.array(lengths)


class Moment(NamedTuple):
    """E episodes after an env step.

    The environments' states, the rewards gained [E], and who was live [E] before the step.
    """

    state: Any
    reward: np.ndarray
    live: np.ndarray


def play_own(policy: SavedPolicy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Play on the engine that trained the policy; returns [E] and lengths [E] of the episodes."""
    returns, lengths = [], []
    for start in range(0, episodes, _AT_A_TIME):
        count = min(_AT_A_TIME, episodes - start)
        gained, length = np.zeros(count), np.zeros(count, np.int64)
        for moment in own_episodes(policy, count, seed + start):
            gained += moment.reward
            length += moment.live
        returns.append(gained)
        lengths.append(length)
    return np.concatenate(returns), np.concatenate(lengths)


def own_episodes(policy: SavedPolicy, episodes: int, seed: int) -> Iterator[Moment]:
    """Play on the engine that trained the policy until every episode is over.

    The first moment is the start, with nobody live. An episode ends by itself, at the time limit,
    or where the simulation breaks down.
    """
    import jax

    from pes_rl.envs.make import make_jax_environment

    about = policy.environment
    environment = make_jax_environment(about["name"], about["engine"], about.get("backend"))
    seeds = np.array([(seed + i) % 2**32 for i in range(episodes)], np.uint32)
    reset, step = (jax.jit(jax.vmap(f)) for f in (environment.reset, environment.step))
    state, observation = reset(jax.vmap(jax.random.key)(seeds))
    live, memory = np.ones(episodes, bool), None
    yield Moment(state, np.zeros(episodes), ~live)
    for _ in range(about["horizon"]):
        with np.errstate(over="ignore", invalid="ignore"):  # of those that are over
            action, memory = policy.predict(np.asarray(observation), memory)
        state, out = step(state, action)
        observation, reward = np.asarray(out.observation), np.asarray(out.reward, np.float64)
        sound = np.isfinite(observation).all(axis=1) & np.isfinite(reward)
        yield Moment(state, np.where(live & sound, reward, 0), live)
        live = live & sound & ~np.asarray(out.terminated)
        if not live.any():
            return


def play(policy: SavedPolicy, env: gymnasium.Env, observation: Any) -> Iterator[float]:
    """Play from the first ``observation`` of an episode to its end, deterministically.

    Each reward is yielded right after its env step, while ``env`` is in the state it led to.
    """
    # The official time limit, or where there is none, the horizon of training.
    limit = policy.environment.get("horizon", math.inf)
    shape = env.action_space.shape or ()
    state, over, length = None, False, 0
    while not over:
        action, state = policy.predict(np.ravel(observation), state)
        observation, reward, terminated, truncated, _ = env.step(action.reshape(shape))
        length += 1
        over = terminated or truncated or length >= limit
        yield float(reward)
