"""Estimates against values computed by hand, against rliable's, and the coverage we state."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pes_rl.comparison.statistics import (
    COVERAGE,
    band,
    estimate,
    first_at_least,
    interquartile_mean,
    interval,
    mean_between,
    median,
    probability_of_improvement,
    ratio_of_medians,
    resample,
)

INF = math.inf
# Runs by environments, and rliable 1.2.0's intervals of them (NumPy seed 0, percentile method,
# 50 000 resamples, 10 000 for the probability of improvement).
X = np.array([[5.04, 0.44], [3.42, 2.43], [2.55, 2.78], [0.98, 2.77], [2.13, 6.32]])
Y = np.array([[2.84, 1.97], [2.08, 1.5], [0.92, 1.91], [3.22, 2.14], [3.94, 2.2]])
Z = np.array([[0.02, 1.55, 0.55, -0.51, -0.18, 0.54, 1.94, -0.27, -0.24, 1.0]]).T
RLIABLE = {
    "iqm, two environments": (interquartile_mean, (X,), 2.68, 1.78, 3.955),
    "iqm, ten runs": (interquartile_mean, (Z,), 0.28166667, -0.18666667, 1.03),
    "iqm, five runs": (interquartile_mean, (Y[:, :1],), 2.71333333, 1.30666667, 3.7),
    "improvement, two environments": (probability_of_improvement, (X, Y), 0.68, 0.4, 0.92),
    "improvement": (probability_of_improvement, (X[:, :1], Y[:, :1]), 0.56, 0.16, 0.92),
}


def sample(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


@pytest.mark.parametrize("name", RLIABLE)
def test_agrees_with_rliable(name):
    statistic, samples, value, low, high = RLIABLE[name]
    found = estimate(statistic, *samples)
    assert found.value == pytest.approx(value)
    # Two draws of the same bootstrap: their ends differ by a step of its distribution at most.
    tolerance = 0.03 * (high - low) + 0.01
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)


def test_interquartile_mean_by_hand():
    assert interquartile_mean(sample(8, 1, 5, 2, 3)) == pytest.approx(10 / 3)
    assert interquartile_mean(sample(*range(1, 9))) == 4.5
    assert interquartile_mean(sample(1, 2, 6)) == 3
    assert interquartile_mean(sample(100, 1, 2, -100)) == 1.5
    pooled = np.array([[1.0, 10.0], [2.0, 20.0]])
    assert interquartile_mean(pooled) == 6


def test_runs_that_never_arrive_are_infinite():
    assert median(sample(1, INF, 2)) == 2
    assert median(sample(1, INF, INF)) == INF
    assert median(sample(1, 2, INF, INF)) == INF
    assert interquartile_mean(sample(1, 2, 3, 4, INF)) == 3
    assert interquartile_mean(sample(1, 2, 3, INF, INF)) == INF


def test_probability_of_improvement_by_hand():
    # 1 beats neither; 3 beats 2 and ties with 3; infinity beats both.
    found = probability_of_improvement(sample(1, 3, INF), sample(2, 3))
    assert found == pytest.approx(3.5 / 6)
    assert probability_of_improvement(sample(INF, INF), sample(INF, INF)) == 0.5
    two = np.array([[1.0, 5.0], [1.0, 5.0]])
    assert probability_of_improvement(two, two + np.array([1, -1])) == 0.5  # 0 and 1


def test_ratio_of_medians_by_hand():
    assert ratio_of_medians(sample(1, 2, 9), sample(4, 8, 5)) == pytest.approx(0.4)
    assert ratio_of_medians(sample(INF, INF, 1), sample(4, 8, 5)) == INF
    assert ratio_of_medians(sample(1, 2, 9), sample(INF, INF, 5)) == 0
    assert math.isnan(ratio_of_medians(sample(INF), sample(INF)))
    assert ratio_of_medians(sample(0), sample(0)) == 1  # both had it before they began
    assert ratio_of_medians(sample(3), sample(0)) == INF


def test_an_undefined_ratio_could_be_anything():
    found = estimate(ratio_of_medians, sample(INF, INF, INF), sample(INF, INF, INF))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-INF, INF)


def test_interval_ends_are_order_statistics_rounded_outwards():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == (25, 975)
    low, high = interval(np.arange(100.0))
    assert (low, high) == (2, 97)


def test_the_interval_of_the_median_of_five_is_their_range():
    # P(the median of a resample is the smallest) = P(three or more of five draws hit it) = 5.8 %.
    assert estimate(median, sample(5, 1, 2, 9, 4)) == (4, 1, 9)


def test_the_interval_equals_the_one_of_all_resamples():
    values = [1.0, 4.0, 5.0, 7.0, 11.0, 13.0]
    every = [np.sort(draw)[1:-1].mean() for draw in itertools.product(values, repeat=6)]
    found = estimate(interquartile_mean, sample(*values))
    low, high = np.quantile(every, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.3)
    assert found.high == pytest.approx(high, abs=0.3)


def test_environments_are_resampled_separately():
    # Each environment's runs are all alike: within the strata there is nothing to vary.
    strata = np.array([[0.0, 100.0]] * 5)
    assert estimate(interquartile_mean, strata) == (50, 50, 50)
    draws = resample(np.array([[1.0, 10.0], [2.0, 20.0]]), np.random.default_rng(0), 200)
    assert set(draws[..., 0].ravel()) == {1, 2} and set(draws[..., 1].ravel()) == {10, 20}
    assert not np.array_equal(draws[..., 0] * 10, draws[..., 1])


def test_intervals_are_the_same_every_time():
    # Two calls in one process: an estimate that drew from a shared generator would move on.
    assert estimate(interquartile_mean, Z) == estimate(interquartile_mean, Z)


def test_band_is_pointwise():
    curves = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0], [0.0, 50.0]])
    middle, low, high = band(curves)
    assert middle == pytest.approx([0, 3])
    assert (low[0], high[0]) == (0, 0)
    assert 1 <= low[1] < 3 < high[1] <= 50


def test_first_at_least():
    x, y = np.array([0, 10, 20, 30]), np.array([1.0, 5.0, 4.0, 6.0])
    assert first_at_least(x, y, 5) == 10
    assert first_at_least(x, y, 6) == 30
    assert first_at_least(x, y, 6.1) == INF


def test_mean_between_by_hand():
    x, y = np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 0.0])
    assert mean_between(x, y, 0, 20) == 5
    assert mean_between(x, y, 5, 15) == 7.5
    assert mean_between(x, y, 0, 4) == 2
    assert mean_between(np.array([0, 30]), np.array([2.0, 8.0]), 20, 30) == 7


def test_the_stated_coverage_of_five_seeds_is_what_a_simulation_gives():
    rng = np.random.default_rng(0)
    runs = rng.standard_normal((1500, 5, 1))
    found = []
    for statistic in (median, interquartile_mean):
        hits = 0
        for one in runs:
            low, high = interval(statistic(resample(one, rng, 500)))
            hits += bool(low <= 0 <= high)
        found.append(hits / len(runs))
    # Three standard errors of 1500 Bernoulli trials at 0.9 are 0.023.
    assert found == pytest.approx(COVERAGE[5], abs=0.025)
