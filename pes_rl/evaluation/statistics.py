"""What is said of a set of episodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def summarize(returns: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Mean, spread, range and interval of episode returns [E], and the mean of lengths [E].

    Episodes that broke down, whose return is NaN, are only counted.
    """
    episodes, sound = len(returns), np.isfinite(returns)
    returns, lengths = returns[sound], lengths[sound]
    mean = spread = least = most = length = math.nan
    if returns.size:
        mean, spread, length = (float(x) for x in (returns.mean(), returns.std(), lengths.mean()))
        least, most = float(returns.min()), float(returns.max())
    interval = None
    if returns.size > 1:
        error = float(returns.std(ddof=1)) / math.sqrt(returns.size)
        half = _student_quantile(returns.size - 1) * error
        interval = [mean - half, mean + half]
    return {
        "episode_return_mean": mean,
        "episode_return_std": spread,
        "episode_return_min": least,
        "episode_return_max": most,
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
