"""How soon an estimator has what the baseline ends with.

It compares them where the baseline never reaches the threshold, or where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pes_rl.comparison.curves import Curve
from pes_rl.comparison.statistics import Estimate, estimate, median


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
        mine, other = time(my_runs, runs), median(other_time(runs, median(finals[runs])))
        with np.errstate(invalid="ignore", divide="ignore"):  # both infinite: NaN
            return np.where((mine == 0) & (other == 0), 1.0, mine / other)  # both as untrained: 1

    numbers = np.arange(len(mine))[:, None], np.arange(len(baseline))[:, None]
    level, share = np.median(finals), estimate(ratio, *numbers)
    return CatchUp(
        float(level),
        estimate(time, *numbers),
        float(median(other_time(numbers[1], level))),
        share._replace(low=max(share.low, 0.0)),
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
