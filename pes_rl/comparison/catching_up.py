"""How soon an estimator has what the baseline ends with.

It compares them where the baseline never reaches the threshold, or where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pes_rl.comparison.curves import Curve
from pes_rl.comparison.statistics import (
    Estimate,
    estimate,
    estimate_ratio,
    median,
    ratio_of_medians,
)


class CatchUp(NamedTuple):
    """When one estimator's runs in one environment have what the baseline's end with.

    Attributes:
      level: median over the baseline's runs of their final return.
      env_steps: median over my runs of env steps to the first evaluation at ``level`` or above,
        infinite if too few get there.
      baseline: the same of the baseline's runs.
      ratio: of the one median to the other.
    """

    level: float
    env_steps: Estimate
    baseline: float
    ratio: Estimate


def catch_up(mine: Sequence[Curve], baseline: Sequence[Curve], finals: np.ndarray) -> CatchUp:
    """Estimates whose intervals draw the level with the baseline's runs.

    Args:
      mine: the runs of one estimator in one environment.
      baseline: those of the baseline.
      finals: final returns [n] of the baseline's.
    """
    my_time, other_time = _time_to(mine), _time_to(baseline)

    def time(my_runs: np.ndarray, runs: np.ndarray) -> np.ndarray:
        return median(my_time(my_runs, median(finals[runs])))

    def ratio(my_runs: np.ndarray, runs: np.ndarray) -> np.ndarray:
        level = median(finals[runs])
        return ratio_of_medians(my_time(my_runs, level), other_time(runs, level))

    numbers = np.arange(len(mine))[:, None], np.arange(len(baseline))[:, None]
    level = np.median(finals)
    return CatchUp(
        float(level),
        estimate(time, *numbers),
        float(median(other_time(numbers[1], level))),
        estimate_ratio(ratio, *numbers),
    )


def _time_to(curves: Sequence[Curve]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Env steps [..., n, 1] after which the curves of these numbers first have a level [...]."""
    size = 1 + max(len(curve.returns) for curve in curves)
    env_steps = np.full((len(curves), size), np.inf)
    returns = np.full((len(curves), size), np.inf)  # past its end, after infinitely many env steps
    for row, curve in enumerate(curves):
        env_steps[row, : len(curve.returns)] = curve.env_steps
        returns[row, : len(curve.returns)] = curve.returns

    def time(runs: np.ndarray, level: np.ndarray) -> np.ndarray:
        first = np.argmax(returns[runs] >= level[..., None, None, None], axis=-1)
        return np.take_along_axis(env_steps[runs], first[..., None], axis=-1)[..., 0]

    return time
