"""The tables for programs: results.csv, curves.csv, summary.json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pes_rl.comparison.catching_up import CatchUp
from pes_rl.comparison.curves import CLOCKS, Curve
from pes_rl.comparison.result import Result, shown_options
from pes_rl.comparison.statistics import CONFIDENCE, RESAMPLES, Estimate
from pes_rl.comparison.summary import AREA, BEST, FINAL, REACHED, SCORE, Measure, Summary
from pes_rl.storage.files import plain


def results_csv(result: Result) -> str:
    """One row per run; what is not known, or never happened, is an empty cell."""
    rows = []
    for index, (cell, curve) in enumerate(zip(result.plan.cells, result.curves, strict=True)):
        run = index % len(result.plan.seeds)
        measured = run_measures(result.summary, curve.env, curve.estimator, run)
        score = curve.score
        rows.append(
            {
                "env": curve.env,
                "estimator": curve.estimator,
                "seed": curve.seed,
                "threshold": result.summary.thresholds[curve.env],
                **measured,
                "rescored_return_mean": score and score.mean,
                "rescored_return_std": score and score.std,
                "rescored_episodes": score and score.episodes,
                "rescored_first_seed": score and score.seed,
                "env_steps": int(curve.env_steps[-1]),
                "updates": int(curve.updates[-1]),
                **shown_options(cell.config),
                "versions": result.versions[cell.name],
            }
        )
    return _csv(rows)


def run_measures(summary: Summary, env: str, estimator: str, run: int) -> dict[str, Any]:
    """One run's measures under the names of results.csv."""

    def value(clock: str, key: str) -> float | None:
        found = summary.measures.get((env, estimator, clock, key))
        return None if found is None else found.values[run]

    reached = {clock: value(clock, REACHED) for clock in CLOCKS}
    censored = None if summary.thresholds[env] is None else reached["env_steps"] == math.inf
    counts = {
        clock: round(x) if x is not None and clock != "seconds" and math.isfinite(x) else x
        for clock, x in reached.items()
    }
    return {
        "censored": censored,
        **{f"{clock}_{REACHED}": x for clock, x in counts.items()},
        "final_return": value("env_steps", FINAL),
        "best_return": value("env_steps", BEST),
        "area_under_curve": value("env_steps", AREA),
    }


def curves_csv(curves: Iterable[Curve]) -> str:
    """One row per evaluation."""
    rows = [
        {
            "env": c.env,
            "estimator": c.estimator,
            "seed": c.seed,
            "env_steps": int(steps),
            "updates": int(updates),
            "sequential_steps": int(updates * c.depth),
            "episode_return": float(value),
        }
        for c in curves
        for steps, updates, value in zip(c.env_steps, c.updates, c.returns, strict=True)
    ]
    return _csv(rows)


def summary_json(result: Result) -> str:
    """Strict JSON: an infinite number is the text ``"inf"``, an undefined one null."""
    return json.dumps(summary_mapping(result), indent=1, allow_nan=False) + "\n"


def summary_mapping(result: Result) -> dict[str, Any]:
    """Everything estimated, nested by environment, estimator and clock."""
    summary, plan = result.summary, result.plan
    return {
        "command": plan.command(result.out),
        "seeds": list(plan.seeds),
        "score_episodes": plan.episodes,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "versions": sorted(set(result.versions.values())),
        "environments": {env: _environment(result, env) for env in summary.envs},
        "all_environments": {
            name: {key: _overall(summary, name, key) for who, key in summary.overall if who == name}
            for name in summary.estimators
        },
    }


def _environment(result: Result, env: str) -> dict[str, Any]:
    summary = result.summary
    configs = {c.config.estimator: c.config for c in result.plan.cells if c.config.env == env}
    return {
        "threshold": summary.thresholds[env],
        "initial_return": summary.initial[env],
        "budgets": {clock: x for (where, clock), x in summary.budgets.items() if where == env},
        "estimators": {
            name: {
                "options": plain(shown_options(configs[name])),
                "speed": _speed(result.timings.get((env, name))),
                "score": _measure(summary.measures.get((env, name, "", SCORE))),
                "to_final_of_baseline": _catching_up(summary.catching_up.get((env, name))),
                "clocks": {
                    clock: _clock(summary, env, name, clock)
                    for clock in CLOCKS
                    if (env, name, clock) in summary.totals
                },
            }
            for name in summary.estimators
        },
    }


def _speed(timing: dict[str, Any] | None) -> dict[str, Any] | None:
    if timing is None:
        return None
    return {name: value for name, value in timing.items() if name != "of"}


def _clock(summary: Summary, env: str, name: str, clock: str) -> dict[str, Any]:
    found = {
        key: summary.measures.get((env, name, clock, key)) for key in (REACHED, FINAL, BEST, AREA)
    }
    return {
        "total_of_shortest_run": summary.totals[env, name, clock],
        **{key: _measure(measure) for key, measure in found.items()},
    }


def _catching_up(found: CatchUp | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "level": _number(found.level),
        "env_steps": _ends(found.env_steps),
        "env_steps_of_baseline": _number(found.baseline),
        "ratio": _ends(found.ratio),
    }


def _overall(summary: Summary, name: str, key: str) -> dict[str, Any] | None:
    """Times to the threshold are of several scales: together they have no median and no mean."""
    found = _measure(summary.overall[name, key])
    if found is None or key != REACHED:
        return found
    return {part: value for part, value in found.items() if part == "improvement"}


def _measure(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None:
        return None
    found = {name: value for name, value in measure._asdict().items() if value is not None}
    return {
        name: [_number(x) for x in value] if name == "values" else _ends(value)
        for name, value in found.items()
    }


def _ends(estimate: Estimate) -> dict[str, float | str | None]:
    return {end: _number(x) for end, x in estimate._asdict().items()}


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
