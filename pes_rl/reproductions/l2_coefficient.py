"""The L2 coefficient of a regression, tuned while the regression trains without end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import optax
from matplotlib.axes import Axes

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems.datasets import diabetes
from pes_rl.problems.hyperparameters_ridge import Ridge, ridge
from pes_rl.problems.small_images import drawn_regression
from pes_rl.reproductions.experiment import Report
from pes_rl.reproductions.figures import curve
from pes_rl.styles import STYLES
from pes_rl.unrolled import History, evolution, minimize

STARTS = (5.0, 3.0, 1.0, -1.0, -3.0, -5.0)
PAIRS, SIGMA, RATE = 2, 0.01, 0.003  # the papers'
SOON, LATE = 10_000, 50_000  # updates
CLOSE = 0.01  # relative, on the held-out loss at rest
FACTORIES = {"truncated-es": truncated_es, "pes": pes, "es-single": es_single}


class Runs(NamedTuple):
    """The regression, and every method's history from all starts."""

    problem: Ridge
    histories: dict[str, History]

    def ends(self, style: str, updates: int | None = None) -> np.ndarray:
        """theta [starts], the mean over the tenth before so many updates, the last ones if None."""
        history = self.histories[style]
        last = int(history.updates[-1]) if updates is None else updates
        window = (history.updates > 0.9 * last) & (history.updates <= last)
        return history.theta[:, window, 0].mean(axis=1)

    def excess(self, ends: np.ndarray) -> float:
        """Largest held-out loss at rest, relative to the least possible."""
        best = self.problem.at_rest(np.array([self.problem.optimum()]))[0]
        return max(0.0, float((self.problem.at_rest(ends) / best - 1).max()))


def compute(quick: bool, report: Report) -> Runs:
    """K = 1, no end, 4 particles, sigma and Adam as in the papers; starts side by side."""
    problem = ridge(*(drawn_regression() if quick else diabetes()), train=30)
    starts, histories = np.array(STARTS)[:, None], {}
    for style, factory in FACTORIES.items():
        if quick and style == "pes":
            continue  # its noise grows with time: it needs the full variant's updates
        method = evolution(problem, factory(PAIRS, SIGMA, 1, None))
        updates = SOON if quick else LATE
        seeds = range(len(starts))
        histories[style] = minimize(method, optax.adam(RATE), starts, seeds, updates)
        report.note(f"L2 coefficient, {STYLES[style].label}")
    return Runs(problem, histories)


def judge(runs: Runs, report: Report) -> None:
    """Every start has to reach the optimum."""
    best = runs.problem.optimum()
    sources = {"pes": "Vicol et al. 2021", "es-single": "Vicol et al. 2023"}
    for style in (style for style in sources if style in runs.histories):
        for updates in (SOON, LATE):
            if updates > runs.histories[style].updates[-1]:
                continue
            ends = runs.ends(style, updates)
            report.claim(
                f"L2 coefficient: {STYLES[style].label} finds brute force's optimum from every "
                f"start within {updates} updates",
                sources[style],
                f"theta {_range(ends)}, optimum {best:.2f}; held-out loss at most "
                f"{runs.excess(ends):.2%} above the least, tolerance {CLOSE:.0%}",
                runs.excess(ends) <= CLOSE,
            )
    ends = runs.ends("truncated-es")
    report.claim(
        "L2 coefficient: truncated ES settles beside the optimum",
        "here",
        f"theta {_range(ends)}, optimum {best:.2f}; held-out loss at most "
        f"{runs.excess(ends):.2%} above the least",
        np.abs(ends - best).min() > 0.1,
    )
    report.result(l2_optimum=best, l2_ends={style: runs.ends(style) for style in runs.histories})


def _range(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def draw(axis: Axes, runs: Runs) -> None:
    """theta over updates, one line a start."""
    for style, history in runs.histories.items():
        for one in range(len(STARTS)):
            label = STYLES[style].label if one == 0 else "_"
            curve(axis, history.updates, history.theta[one : one + 1, :, 0], STYLES[style], label)
    axis.axhline(runs.problem.optimum(), color="0.3", lw=0.8)
    axis.set(title="L2 coefficient of a regression", xlabel="updates", ylabel="theta")
    axis.legend()
