"""When an estimator has what es ends with: by hand, and against every resample there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pes_rl.comparison.catching_up import catch_up
from pes_rl.comparison.curves import Curve
from pes_rl.comparison.export import summary_mapping
from pes_rl.comparison.report import summary_markdown
from tests.comparison.test_summary import compared, curves

INF = math.inf


def run(*returns: float, name: str = "es") -> Curve:
    """An evaluation every 100 env steps."""
    steps = 100 * np.arange(len(returns))
    return Curve("Hopper", name, 0, steps, steps, np.array(returns, float), 10)


# The finals' median is 6, which es has for the first time after 300 and 100, and once never.
OTHERS = [run(0, 2, 4, 8, 6), run(0, 7, 3, 7, 7), run(0, 1, 2, 3, 4)]
FINALS = np.array([6.0, 7.0, 4.0])
MINE = [run(0, 6, name="pes"), run(0, 4, 5, 9, name="pes"), run(0, 5, 4, 5, 5, 5, name="pes")]


def test_the_level_is_what_the_baseline_ends_with_and_not_its_best():
    found = catch_up(MINE, OTHERS, FINALS)
    assert found.level == 6
    assert found.env_steps.value == 300  # 100, 300 and never
    assert found.baseline == 300  # and not 400, when its runs end
    assert found.ratio.value == 1


def first(curve: Curve, level: float) -> float:
    return next((x for x, y in zip(curve.env_steps, curve.returns, strict=True) if y >= level), INF)


STEADY = [run(0, 4, 6, 7, name="pes")] * 3


@pytest.mark.parametrize("mine", [MINE, STEADY])
def test_the_interval_draws_the_level_with_the_runs(mine):
    found, times, ratios = catch_up(mine, OTHERS, FINALS), [], []
    for drawn in itertools.product(range(3), repeat=3):
        level = float(np.median(FINALS[list(drawn)]))
        other = np.median([first(OTHERS[i], level) for i in drawn])
        for runs in itertools.product(range(3), repeat=3):
            times.append(np.median([first(mine[i], level) for i in runs]))
            ratios.append(times[-1] / other)
    for estimate, draws in ((found.env_steps, times), (found.ratio, ratios)):
        ends = np.quantile(draws, [0.025, 0.975], method="nearest")
        assert (estimate.low, estimate.high) == pytest.approx(tuple(ends))


def test_who_never_has_it_is_said_to_take_longer_than_the_runs_are():
    low = [curve._replace(returns=0.01 * curve.returns) for curve in curves()[3:]]
    text = summary_markdown(compared([*curves()[:3], *low]))
    assert "| Swimmer | es-single | 94.5 | > 1000 | > 1.00 |" in text


def test_a_baseline_that_ends_where_it_began_shows_nothing():
    worse = [curve._replace(returns=-curve.returns) for curve in curves()]
    text = summary_markdown(compared(worse))
    assert "| Swimmer | es-single | -94.5 | 0 [0, 0] | 1.00 [1.00, 1.00] |" in text


@pytest.mark.parametrize("env", ["Swimmer", "Hopper"])
def test_it_is_reported_with_and_without_a_threshold(env):
    result = compared(curves(env))
    # es ends at 189, 94.5 and 47.3 and has 94.5 after 500, 1010 and never; es-single 400, 500, 200.
    assert f"| {env} | es-single | 94.5 | 400 [" in summary_markdown(result)
    found = summary_mapping(result)["environments"][env]["estimators"]
    assert found["es"]["to_final_of_baseline"] is None
    told = found["es-single"]["to_final_of_baseline"]
    assert told["level"] == pytest.approx(94.545, abs=1e-3)
    assert told["ratio"]["value"] == pytest.approx(400 / 1010)


def test_without_the_baseline_there_is_nothing_to_catch_up_with():
    alone = compared(curves()[3:])
    assert alone.summary.catching_up == {}
    assert "ends with" not in summary_markdown(alone)
