"""Score a saved policy in the official Gymnasium environment."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.policy_io import SavedPolicy, load_policy


def evaluate(path: str | Path, episodes: int = 100, seed: int = 0) -> dict[str, Any]:
    """Play full episodes with a saved policy, deterministically.

    Args:
      path: a run folder or a policy folder.
      episodes: number of episodes.
      seed: episode i is reset with seed ``seed + i``.

    Returns:
      ``episode_return_mean``, ``episode_return_std`` (population), ``episode_return_interval``
      (95 %, normal, of the mean), ``episode_length_mean``, ``episodes``, ``seed``, ``policy``,
      ``environment``.

    Raises:
      UserError: there is no policy at ``path``, or it cannot be read.
    """
    policy = load_policy(path)
    returns, lengths = play_official(policy, episodes, seed)
    mean, std = float(returns.mean()), float(returns.std())
    half = 1.96 * float(returns.std(ddof=1)) / math.sqrt(episodes) if episodes > 1 else math.nan
    return {
        "episode_return_mean": mean,
        "episode_return_std": std,
        "episode_return_interval": [mean - half, mean + half] if episodes > 1 else None,
        "episode_length_mean": float(lengths.mean()),
        "episodes": episodes,
        "seed": seed,
        "policy": str(policy.path),
        "environment": policy.environment["gymnasium_id"],
    }


def play_official(policy: SavedPolicy, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns [E] and lengths [E] of episodes seeded ``seed``, ``seed + 1``, ..."""
    from pes_rl.envs.gymnasium_engine import make_env

    # The official time limit, or where there is none, the horizon of training.
    limit = policy.environment.get("horizon", math.inf)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    with contextlib.closing(make_env(policy.environment["gymnasium_id"])) as env:
        shape = env.action_space.shape or ()
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed + episode)
            state, over = None, False
            while not over:
                action, state = policy.predict(np.ravel(observation), state)
                observation, reward, terminated, truncated, _ = env.step(action.reshape(shape))
                returns[episode] += float(reward)
                lengths[episode] += 1
                over = terminated or truncated or lengths[episode] >= limit
    return returns, lengths
