"""From curves to estimates: pure, so that any table of curves can be summarised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pes_rl.comparison.catching_up import CatchUp, catch_up
from pes_rl.comparison.curves import CLOCKS, Curve, Speed
from pes_rl.comparison.statistics import (
    Estimate,
    estimate,
    estimate_ratio,
    first_at_least,
    interquartile_mean,
    mean_between,
    median,
    probability_of_improvement,
    ratio_of_medians,
)

BASELINE = "es"
# Measures of one run against one clock; the score on unseen seeds has no clock.
REACHED, FINAL, BEST, AREA, SCORE = "to_threshold", "final", "best", "area", "score"
FINAL_SHARE = 0.1


Where = tuple[str, str, str, str]
Samples = dict[Where, np.ndarray]


class Measure(NamedTuple):
    """One measure of one estimator's runs in one environment.

    Attributes:
      values: one per run, in the order of the seeds; infinite where the threshold was not reached.
      median: over runs.
      iqm: interquartile mean over runs.
      ratio: of the median to the baseline's median (time to the threshold only).
      improvement: probability that a run beats one of the baseline.
    """

    values: tuple[float, ...]
    median: Estimate
    iqm: Estimate
    ratio: Estimate | None = None
    improvement: Estimate | None = None


class Summary(NamedTuple):
    """Everything that tables and texts are made of.

    Attributes:
      envs, estimators: in the order of the curves.
      thresholds: by environment, None where none is set.
      initial: mean return of the untrained policies, by environment.
      budgets: by environment and clock: env steps of the plan; for the other clocks what every run
        has, so that nothing is compared where a run has ended already.
      totals: by environment, estimator and clock: what its shortest run has.
      measures: by environment, estimator, clock ("" for the score) and name.
      catching_up: by environment and estimator other than the baseline; empty without it.
      overall: of all environments with a threshold together, by estimator and name.
      speeds: by environment and estimator; empty without timing.
    """

    envs: tuple[str, ...]
    estimators: tuple[str, ...]
    thresholds: dict[str, float | None]
    initial: dict[str, float]
    budgets: dict[tuple[str, str], float]
    totals: dict[tuple[str, str, str], float]
    measures: dict[Where, Measure]
    catching_up: dict[tuple[str, str], CatchUp]
    overall: dict[tuple[str, str], Measure]
    speeds: Mapping[tuple[str, str], Speed]


def summarise(
    curves: Sequence[Curve],
    thresholds: Mapping[str, float | None],
    budgets: Mapping[str, int],
    speeds: Mapping[tuple[str, str], Speed] | None = None,
) -> Summary:
    """Estimates of every measure.

    Args:
      curves: every environment and estimator with the same number of runs.
      thresholds: episode return that counts as solved, by environment.
      budgets: env steps of each run, by environment.
      speeds: of every environment and estimator, for the clock in seconds.
    """
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.env, curve.estimator), []).append(curve)
    envs = tuple(dict.fromkeys(env for env, _ in groups))
    estimators = tuple(dict.fromkeys(estimator for _, estimator in groups))
    initial = {env: float(np.mean([c.returns[0] for c in curves if c.env == env])) for env in envs}
    clocks = [name for name in CLOCKS if speeds or name != "seconds"]
    axes = {
        (env, name, clock): [c.clock(clock, (speeds or {}).get((env, name))) for c in group]
        for (env, name), group in groups.items()
        for clock in clocks
    }
    totals = {where: min(float(x[-1]) for x in xs) for where, xs in axes.items()}
    common = {
        (env, clock): min(totals[env, name, clock] for name in estimators)
        for env in envs
        for clock in clocks
    }
    limits = common | {(env, "env_steps"): float(budgets[env]) for env in envs}
    samples: Samples = {}
    for (env, name, clock), xs in axes.items():
        group, limit = groups[env, name], limits[env, clock]
        runs = [
            measure_run(curve, x, limit, thresholds[env], whole=clock == "env_steps")
            for curve, x in zip(group, xs, strict=True)
        ]
        for key in runs[0]:
            samples[env, name, clock, key] = np.array([[run[key]] for run in runs])
    for (env, name), group in groups.items():
        scores = [[c.score.mean] for c in group if c.score is not None]
        if len(scores) == len(group):
            samples[env, name, "", SCORE] = np.array(scores)
    solvable = {env: level for env in envs if (level := thresholds[env]) is not None}
    pooled = _pooled(samples, estimators, solvable, initial) if len(solvable) > 1 else {}
    return Summary(
        envs,
        estimators,
        {env: thresholds[env] for env in envs},
        initial,
        limits,
        totals,
        {
            (env, name, clock, key): _measure(
                key, sample, name, samples.get((env, BASELINE, clock, key))
            )
            for (env, name, clock, key), sample in samples.items()
        },
        {
            (env, name): catch_up(
                group, groups[env, BASELINE], samples[env, BASELINE, "env_steps", FINAL][:, 0]
            )
            for (env, name), group in groups.items()
            if name != BASELINE and BASELINE in estimators
        },
        {
            (name, key): _measure(key, sample, name, pooled.get((BASELINE, key)))
            for (name, key), sample in pooled.items()
        },
        speeds or {},
    )


def measure_run(
    curve: Curve, x: np.ndarray, budget: float, threshold: float | None, whole: bool
) -> dict[str, float]:
    """The measures of one run against one clock.

    Args:
      curve: the run.
      x: its clock [E].
      budget: where the comparison ends.
      threshold: None leaves out the time to it.
      whole: whether evaluations past the budget count: a run ends with the update that reaches its
        budget of env steps, a little beyond it.
    """
    y = curve.returns
    measures = {
        FINAL: mean_between(x, y, (1 - FINAL_SHARE) * budget, budget),
        BEST: float(y[(x <= budget) | whole].max()),
        AREA: mean_between(x, y, 0, budget),
    }
    if threshold is not None:
        measures[REACHED] = first_at_least(x, y, threshold)
    return measures


def _pooled(
    samples: Samples,
    estimators: Sequence[str],
    thresholds: Mapping[str, float],
    initial: Mapping[str, float],
) -> dict[tuple[str, str], np.ndarray]:
    """Samples [n, m] of m environments, by estimator and name.

    Returns are on the scale on which 0 is the untrained policy and 1 the threshold. The times to
    the threshold are only ever compared within an environment, and stay as they are.
    """
    pooled = {}
    for clock, key in (("env_steps", REACHED), ("env_steps", AREA), ("", SCORE)):
        if any((env, estimators[0], clock, key) not in samples for env in thresholds):
            continue
        for name in estimators:
            columns = [
                samples[env, name, clock, key]
                if key == REACHED
                else (samples[env, name, clock, key] - initial[env]) / (level - initial[env])
                for env, level in thresholds.items()
            ]
            pooled[name, key] = np.concatenate(columns, axis=1)
    return pooled


def _measure(key: str, values: np.ndarray, name: str, baseline: np.ndarray | None) -> Measure:
    """Estimates from a sample [n, m], and against that of the baseline."""
    found = Measure(
        tuple(map(float, values.ravel())),
        estimate(median, values),
        estimate(interquartile_mean, values),
    )
    if baseline is None or name == BASELINE:
        return found
    sign = -1.0 if key == REACHED else 1.0  # sooner is better, higher is better
    improvement = estimate(probability_of_improvement, sign * values, sign * baseline)
    if key != REACHED:
        return found._replace(improvement=improvement)
    ratio = estimate_ratio(ratio_of_medians, values, baseline)
    return found._replace(improvement=improvement, ratio=ratio)
