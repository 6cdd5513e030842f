"""Search behind the presets: ``python -m benchmarks.tune --env Swimmer [--out DIR]``.

Successive halving, the same for every estimator of a task: Optuna's TPE sampler proposes option
sets that are tried on three seeds for a part of the budget; the best four of them get the whole
budget on the same seeds; the best two of these three seeds more. What is maximised is the area
under the evaluation curve, the mean return over the budget, averaged over seeds. The first
proposals are fixed: published settings and the values at hand.

Writes DIR/ENV.jsonl (one line per finished run; an interrupted search goes on where it stopped)
and DIR/ENV.md (the finalists, best first). The seeds are not those of any reported result.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

from benchmarks.curves import Options, train_curves, worker_pool

SEEDS = (1001, 1002, 1003)
MORE_SEEDS = (1004, 1005, 1006)
PROPOSALS, HALVED, FINALISTS = 10, 4, 2
TOP = {"all": 1, "half": 2, "eighth": 8}
ESTIMATORS = ("es", "truncated-es", "pes", "es-single")
SCHEDULES = ("constant", "linear")


@dataclass(frozen=True)
class Search:
    """One task: env steps of a run, whole and in the first round, sigma's range, first proposals.

    ``horizons`` are those of training episodes, the task's own first; evaluations last that long
    always. ``alpha`` is ARS's step size: ours, ``learning_rate``, is ``2 * perturb_std * alpha``.
    """

    num_env_steps: int
    first_env_steps: int
    eval_every: int
    pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    stds: tuple[float, float] = (0.01, 0.1)
    alphas: tuple[float, float] = (0.002, 0.1)
    segments: tuple[int, ...] = (25, 50, 100)
    horizons: tuple[int, ...] = (1000, 200, 100)
    first: dict[str, tuple[Options, ...]] = field(default_factory=dict)
    fixed: Options = field(default_factory=dict)
    shifts: tuple[float, ...] = (0.0,)


def _point(pairs: int, std: float, alpha: float, top: str = "all", **more: Any) -> Options:
    return {"num_pairs": pairs, "perturb_std": std, "alpha": alpha, "top": top, **more}


# The first proposals of es are ARS's published settings (Mania et al. 2018, table 9; rl-zoo for
# HalfCheetah), those of the others what earlier searches ended with.
SEARCHES = {
    "Swimmer": Search(
        300_000,
        150_000,
        15_000,
        stds=(0.01, 0.6),
        first={
            "es": (_point(1, 0.01, 0.02), _point(2, 0.1, 0.05)),
            "es-single": (_point(2, 0.1, 0.025, segment_length=100),),
        },
        fixed={"normalize_observations": False},
    ),
    "HalfCheetah": Search(
        2_000_000,
        600_000,
        50_000,
        first={
            "es": (_point(32, 0.03, 0.02, "eighth"), _point(8, 0.03, 0.02)),
            "es-single": (
                _point(16, 0.03, 0.005, segment_length=50),
                _point(16, 0.03, 0.02, segment_length=50, horizon=100),
            ),
            "pes": (
                _point(
                    8,
                    0.05,
                    0.0125,
                    segment_length=50,
                    horizon=100,
                    discount=0.99,
                    trace_decay=0.9,
                    baseline="quadratic",
                ),
            ),
        },
    ),
    "Hopper": Search(
        2_000_000,
        500_000,
        50_000,
        first={
            "es": (_point(8, 0.025, 0.01, "half"), _point(4, 0.025, 0.01)),
            "es-single": (_point(8, 0.025, 0.004, segment_length=100),),
        },
        shifts=(0.0, 0.5, 1.0),
    ),
    **{
        task: Search(
            4_000_000,
            1_000_000,
            100_000,
            pairs=(4, 8, 16, 32, 40, 60),
            first={"es": points},
            shifts=(0.0, 0.5, 1.0),
        )
        for task, points in {
            "Walker2d": (_point(40, 0.025, 0.03), _point(16, 0.025, 0.03, "half")),
            "Ant": (_point(60, 0.025, 0.015), _point(16, 0.025, 0.015, "half")),
        }.items()
    },
    "Humanoid": Search(
        4_000_000,
        1_000_000,
        100_000,
        pairs=(16, 32, 64, 128, 230),
        stds=(0.003, 0.03),
        first={"es": (_point(230, 0.0075, 0.02),)},
        shifts=(0.0, 2.5, 5.0),
    ),
    "HumanoidStandup": Search(2_000_000, 500_000, 100_000, stds=(0.003, 0.03)),
    "Reacher": Search(
        500_000, 200_000, 25_000, stds=(0.02, 0.2), segments=(5, 10, 25), horizons=(50,)
    ),
    "Pusher": Search(
        1_000_000, 300_000, 50_000, stds=(0.02, 0.2), segments=(10, 20, 50), horizons=(100,)
    ),
    "InvertedPendulum": Search(100_000, 50_000, 10_000, stds=(0.05, 0.5)),
    "InvertedDoublePendulum": Search(500_000, 200_000, 20_000, stds=(0.05, 0.5)),
}


def space(env: str, estimator: str) -> dict[str, Any]:
    """What Optuna may choose from."""
    plan = SEARCHES[env]
    choices: dict[str, Any] = {
        "num_pairs": CategoricalDistribution(plan.pairs),
        "top": CategoricalDistribution(tuple(TOP)),
        "perturb_std": FloatDistribution(*plan.stds, log=True),
        "alpha": FloatDistribution(*plan.alphas, log=True),
        "horizon": CategoricalDistribution(plan.horizons),
        "schedule": CategoricalDistribution(SCHEDULES),
        "reward_shift": CategoricalDistribution(plan.shifts),
    }
    if estimator != "es":
        choices["segment_length"] = CategoricalDistribution(plan.segments)
    if estimator == "pes":
        choices["discount"] = CategoricalDistribution((0.98, 0.99, 0.995, 1.0))
        choices["trace_decay"] = CategoricalDistribution((0.6, 0.9, 1.0))
        choices["baseline"] = CategoricalDistribution(("none", "quadratic", "mlp"))
    return choices


def to_options(env: str, estimator: str, point: Options) -> Options:
    """Trainer options of one point for the whole budget, rounded to what a preset would say."""
    plan, point = SEARCHES[env], dict(point)
    pairs, top, alpha = (point.pop(name) for name in ("num_pairs", "top", "alpha"))
    schedule = point.pop("schedule", "constant")
    std = float(f"{point.pop('perturb_std'):.2g}")
    options = {
        "env": env,
        "estimator": estimator,
        "num_pairs": pairs,
        "num_top_pairs": max(1, pairs // TOP[top]),
        "perturb_std": std,
        "learning_rate": float(f"{2 * std * alpha:.2g}"),
        "learning_rate_schedule": schedule,
        "num_env_steps": plan.num_env_steps,
        "eval_every": plan.eval_every,
        "eval_episodes": 4,
        **plan.fixed,
        **point,
    }
    if schedule == "linear":
        options["schedule_env_steps"] = plan.num_env_steps
    return options


def area(curve: Sequence[Sequence[float]], num_env_steps: int) -> float:
    """Mean return over the budget: the evaluations joined by straight lines."""
    grid = np.linspace(0, num_env_steps, 201)
    steps, returns = np.array(curve, float).T
    return float(np.interp(grid, steps, returns).mean())


class Finalist(NamedTuple):
    """An option set with its mean area over the whole budget."""

    options: Options
    area: float


def search(env: str, estimator: str, results: Path, pool: ProcessPoolExecutor) -> list[Finalist]:
    """The finalists, best first."""
    plan = SEARCHES[env]

    def means(sets: list[Options], seeds: Sequence[int], env_steps: int) -> list[float]:
        jobs = [{**o, "num_env_steps": env_steps, "seed": seed} for o in sets for seed in seeds]
        areas = [area(r["curve"], env_steps) for r in train_curves(jobs, results, pool)]
        return np.reshape(areas, (len(sets), len(seeds))).mean(axis=1).tolist()

    def best(sets: list[Options], values: Sequence[float], count: int) -> list[Options]:
        order = np.argsort(-np.array(values), kind="stable")
        return [sets[i] for i in order[:count]]

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=PROPOSALS // 2),
    )
    usual = {
        "horizon": plan.horizons[0],
        "schedule": "constant",
        "reward_shift": plan.shifts[-1],
    }
    for point in plan.first.get(estimator, ()):
        study.enqueue_trial(usual | point)
    sets, values = [], []
    for _ in range(PROPOSALS):
        trial = study.ask(space(env, estimator))
        sets.append(to_options(env, estimator, trial.params))
        values += means(sets[-1:], SEEDS, plan.first_env_steps)
        study.tell(trial, values[-1])
    sets = best(sets, values, HALVED)
    sets = best(sets, means(sets, SEEDS, plan.num_env_steps), FINALISTS)
    ranked = map(Finalist, sets, means(sets, SEEDS + MORE_SEEDS, plan.num_env_steps))
    return sorted(ranked, key=lambda one: -one.area)


def table(env: str, ranked: dict[str, list[Finalist]]) -> str:
    """Markdown of the finalists."""
    plan = SEARCHES[env]
    lines = [
        f"# {env}: the search behind the presets",
        "",
        f"`python -m benchmarks.tune --env {env}`, per estimator: {PROPOSALS * len(SEEDS)} runs "
        f"of {plan.first_env_steps:,} env steps, then {HALVED * len(SEEDS)} and "
        f"{FINALISTS * len(MORE_SEEDS)} of {plan.num_env_steps:,}. Seeds {SEEDS[0]} to "
        f"{MORE_SEEDS[-1]}, none of them reported elsewhere. Area: mean return over the budget, "
        f"mean of {len(SEEDS + MORE_SEEDS)} seeds. The first of each estimator is its preset.",
        "",
        "| estimator | area | options |",
        "|---|---|---|",
    ]
    hidden = {
        "env",
        "estimator",
        "num_env_steps",
        "eval_every",
        "eval_episodes",
        *SEARCHES[env].fixed,
    }
    for estimator, finalists in ranked.items():
        for one in finalists:
            text = ", ".join(f"{k} {v}" for k, v in one.options.items() if k not in hidden)
            lines.append(f"| {estimator} | {one.area:.1f} | {text} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.tune")
    parser.add_argument("--env", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--out", type=Path, default=Path("docs/tuning"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with worker_pool(args.workers) as pool:
        for env in args.env:
            results = args.out / f"{env}.jsonl"
            ranked = {e: search(env, e, results, pool) for e in args.estimators}
            (args.out / f"{env}.md").write_text(table(env, ranked))
            print(table(env, ranked), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
