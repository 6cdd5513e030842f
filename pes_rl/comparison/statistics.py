"""Estimates from few runs, with bootstrap intervals; runs that never got there are infinite.

The estimators are those of Agarwal et al. 2021 ("Deep Reinforcement Learning at the Edge of the
Statistical Precipice", their library is rliable): interquartile mean, probability of improvement,
and percentile intervals of a bootstrap stratified by environment. They are written out here
because rliable interpolates between order statistics, which makes NaN of infinity, and draws from
NumPy's global generator, so that its intervals cannot be seeded.

A sample is an array [n, m]: n runs in each of m environments, the strata. A statistic maps
[..., n, m] to [...], so that all resamples are computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000
_CHUNK = 500  # resamples at once, so that a hundred seeds still fit in memory
_SEED = 20_210_830

# By number of seeds: how often intervals of medians and of interquartile means held the true value,
# the lower of two simulations, with normal and with log-normal data (tests/test_comparison_*).
COVERAGE = {
    3: (0.75, 0.73),
    4: (0.88, 0.87),
    5: (0.93, 0.89),
    6: (0.93, 0.90),
    8: (0.92, 0.93),
    10: (0.93, 0.93),
    15: (0.92, 0.94),
    20: (0.94, 0.94),
}
Statistic = Callable[..., np.ndarray]


class Estimate(NamedTuple):
    """A point estimate and the ends of its interval; any of them may be infinite, or NaN."""

    value: float
    low: float
    high: float


def median(sample: np.ndarray) -> np.ndarray:
    """Median of all runs; infinite as soon as a run in the middle is."""
    return np.median(_pool(sample), axis=-1)


def interquartile_mean(sample: np.ndarray) -> np.ndarray:
    """Mean without the lowest and the highest floor(n/4) of the n runs (of all environments)."""
    pooled = np.sort(_pool(sample), axis=-1)
    size = pooled.shape[-1]
    return pooled[..., size // 4 : size - size // 4].mean(axis=-1)


def probability_of_improvement(sample: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """P(a run of ``sample`` > a run of ``baseline``), ties counting one half.

    The mean over environments of the Mann-Whitney statistic divided by its greatest value.
    """
    mine, other = sample[..., :, None, :], baseline[..., None, :, :]
    return ((mine > other) + 0.5 * (mine == other)).mean(axis=(-3, -2, -1))


def ratio_of_medians(sample: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """median(sample) / median(baseline), of times: 1 if both are 0, NaN if both are infinite."""
    mine, other = median(sample), median(baseline)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((mine == 0) & (other == 0), 1.0, np.divide(mine, other))


def estimate(statistic: Statistic, *samples: np.ndarray) -> Estimate:
    """``statistic(*samples)`` and its percentile interval, each sample resampled on its own.

    Every call draws the same random numbers: adding an estimator changes no other's interval. An
    undefined resample (a ratio of two infinities) could be anything at all, so it counts as minus
    infinity at the lower end and as infinity at the upper one.
    """
    rng = np.random.default_rng(_SEED)
    chunks = [
        statistic(*(resample(sample, rng, _CHUNK) for sample in samples))
        for _ in range(RESAMPLES // _CHUNK)
    ]
    return Estimate(float(statistic(*samples)), *map(float, interval(np.concatenate(chunks))))


def estimate_ratio(statistic: Statistic, *samples: np.ndarray) -> Estimate:
    """The same of a ratio of times: below 0 it is not, however undefined."""
    found = estimate(statistic, *samples)
    return found._replace(low=max(found.low, 0.0))


def resample(sample: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws [count, n, m] of n runs with replacement, in each environment by itself."""
    runs = rng.integers(len(sample), size=(count, *sample.shape))
    return np.take_along_axis(sample[None], runs, axis=1)


def interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central ``CONFIDENCE`` of draws [B, ...], as order statistics rounded outwards."""
    tail = (1 - CONFIDENCE) / 2 * (len(draws) - 1)
    low = np.sort(np.where(np.isnan(draws), -np.inf, draws), axis=0)[math.floor(tail)]
    high = np.sort(np.where(np.isnan(draws), np.inf, draws), axis=0)[-1 - math.floor(tail)]
    return low, high


def band(curves: np.ndarray, count: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pointwise interquartile mean [G] of curves [n, G], and the ends [G] of its intervals.

    Whole runs are resampled, the same ones at every point.
    """
    rng = np.random.default_rng(_SEED)
    runs = rng.integers(len(curves), size=(count, len(curves)))
    draws = interquartile_mean(np.moveaxis(curves[runs], 1, 2)[..., None])
    return interquartile_mean(curves.T[..., None]), *interval(draws)


def first_at_least(x: np.ndarray, y: np.ndarray, threshold: float) -> float:
    """The first ``x`` whose ``y`` is at least ``threshold``; infinite if there is none."""
    reached = np.flatnonzero(y >= threshold)
    return float(x[reached[0]]) if len(reached) else math.inf


def mean_between(x: np.ndarray, y: np.ndarray, start: float, stop: float) -> float:
    """Mean height, from ``start`` to ``stop``, of the straight lines that join the points."""
    inside = x[(x > start) & (x < stop)]
    grid = np.concatenate([[start], inside, [stop]]).astype(float)
    return float(np.trapezoid(np.interp(grid, x, y), grid) / (stop - start))


def _pool(sample: np.ndarray) -> np.ndarray:
    return sample.reshape(*sample.shape[:-2], -1)
