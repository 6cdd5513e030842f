"""Search behind the presets: ``python -m benchmarks.tune --env Swimmer [--out DIR]``.

Every estimator of an environment gets the same budget of env steps, the same seeds and the same
three rounds: Optuna's TPE sampler proposes option sets that are tried on two seeds, the best two
are tried on five, and the same two at length on two again, since what starts fastest may not end
highest. What is maximised is the area under the evaluation curve, the mean return over the budget;
the last round decides. The first proposals are fixed: published settings and the values at hand.

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

SEEDS = (1001, 1002, 1003, 1004, 1005)
PROPOSALS, FIRST_SEEDS, FINALISTS, LONG_SEEDS = 8, 2, 2, 2
TOP = {"all": 1, "half": 2, "eighth": 8}
ESTIMATORS = ("es", "truncated-es", "pes", "es-single")


@dataclass(frozen=True)
class Search:
    """One environment: env steps of a run, short and long, sigma's range, first proposals.

    ``alpha`` is ARS's step size, stated per episode: an online estimator takes its part of it at
    every segment. Ours is then ``learning_rate = 2 * perturb_std * alpha * segment_length / T``.
    """

    num_env_steps: int
    long_env_steps: int
    eval_every: int
    stds: tuple[float, float]
    es: tuple[Options, ...]
    online: tuple[Options, ...]
    fixed: Options = field(default_factory=dict)


def _point(pairs: int, std: float, alpha: float, top: str = "all", length: int = 0) -> Options:
    point = {"num_pairs": pairs, "perturb_std": std, "alpha": alpha, "top": top}
    return point | ({"segment_length": length} if length else {})


# The first proposals of es are ARS's published settings (Mania et al. 2018, table 9; rl-zoo for
# HalfCheetah) and the preset at hand; of the others, the preset and a coarser neighbour.
SEARCHES = {
    "Swimmer": Search(
        150_000,
        300_000,
        15_000,
        (0.01, 0.3),
        es=(_point(1, 0.01, 0.02), _point(2, 0.1, 0.05)),
        online=(_point(8, 0.1, 0.25, length=100), _point(2, 0.1, 0.25, length=100)),
        fixed={"normalize_observations": False},
    ),
    "HalfCheetah": Search(
        600_000,
        2_000_000,
        50_000,
        (0.01, 0.1),
        es=(_point(32, 0.03, 0.02, "eighth"), _point(8, 0.03, 0.02)),
        online=(_point(16, 0.03, 0.1, length=50), _point(8, 0.03, 0.1, length=100)),
    ),
    "Hopper": Search(
        150_000,
        400_000,
        15_000,
        (0.01, 0.1),
        es=(_point(8, 0.025, 0.01, "half"), _point(4, 0.025, 0.01)),
        online=(_point(4, 0.025, 0.04, length=50), _point(8, 0.025, 0.04, length=100)),
        fixed={"reward_shift": 1},
    ),
}
HORIZON = 1000


def space(estimator: str, stds: tuple[float, float]) -> dict[str, Any]:
    """What Optuna may choose from."""
    choices: dict[str, Any] = {
        "num_pairs": CategoricalDistribution((1, 2, 4, 8, 16, 32)),
        "top": CategoricalDistribution(tuple(TOP)),
        "perturb_std": FloatDistribution(*stds, log=True),
        "alpha": FloatDistribution(0.005, 0.5, log=True),
    }
    if estimator != "es":
        choices["segment_length"] = CategoricalDistribution((25, 50, 100, 200))
    return choices


def to_options(env: str, estimator: str, point: Options) -> Options:
    """Trainer options of one point, rounded to what a preset would say."""
    search = SEARCHES[env]
    length = point.get("segment_length", HORIZON)
    std = float(f"{point['perturb_std']:.2g}")
    rate = 2 * std * point["alpha"] * length / HORIZON
    options = {
        "env": env,
        "estimator": estimator,
        "num_pairs": point["num_pairs"],
        "num_top_pairs": max(1, point["num_pairs"] // TOP[point["top"]]),
        "perturb_std": std,
        "learning_rate": float(f"{rate:.2g}"),
        "num_env_steps": search.num_env_steps,
        "eval_every": search.eval_every,
        "eval_episodes": 4,
        **search.fixed,
    }
    return options if estimator == "es" else options | {"segment_length": length}


def area(curve: Sequence[Sequence[float]], num_env_steps: int) -> float:
    """Mean return over the budget: the evaluations joined by straight lines."""
    grid = np.linspace(0, num_env_steps, 201)
    steps, returns = np.array(curve, float).T
    return float(np.interp(grid, steps, returns).mean())


class Finalist(NamedTuple):
    """An option set with its mean areas in the second round and in the long one."""

    options: Options
    area: float
    long_area: float


def search(env: str, estimator: str, results: Path, pool: ProcessPoolExecutor) -> list[Finalist]:
    """The finalists, best first."""
    plan = SEARCHES[env]

    def areas(jobs: list[Options]) -> list[float]:
        found = train_curves(jobs, results, pool)
        return [area(r["curve"], r["options"]["num_env_steps"]) for r in found]

    def means(sets: list[Options], seeds: Sequence[int]) -> list[float]:
        values = areas([{**options, "seed": seed} for options in sets for seed in seeds])
        return np.reshape(values, (len(sets), len(seeds))).mean(axis=1).tolist()

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=PROPOSALS // 2),
    )
    for point in plan.es if estimator == "es" else plan.online:
        study.enqueue_trial(point)
    first: list[tuple[float, Options]] = []
    for _ in range(PROPOSALS):
        trial = study.ask(space(estimator, plan.stds))
        options = to_options(env, estimator, trial.params)
        (value,) = means([options], SEEDS[:FIRST_SEEDS])
        study.tell(trial, value)
        first.append((value, options))
    first.sort(key=lambda item: -item[0])
    finalists = [options for _, options in first[:FINALISTS]]
    short = means(finalists, SEEDS)
    longer = [{**o, "num_env_steps": plan.long_env_steps} for o in finalists]
    long = means(longer, SEEDS[:LONG_SEEDS])
    ranked = [Finalist(*row) for row in zip(finalists, short, long, strict=True)]
    return sorted(ranked, key=lambda one: -one.long_area)


def table(env: str, ranked: dict[str, list[Finalist]]) -> str:
    """Markdown of the finalists."""
    plan = SEARCHES[env]
    runs = PROPOSALS * FIRST_SEEDS + FINALISTS * (len(SEEDS) - FIRST_SEEDS)
    lines = [
        f"# {env}: the search behind the presets",
        "",
        f"`python -m benchmarks.tune --env {env}`, for each estimator: {runs} runs of "
        f"{plan.num_env_steps:,} env steps, then {FINALISTS * LONG_SEEDS} of "
        f"{plan.long_env_steps:,}. Seeds {SEEDS[0]} to {SEEDS[-1]}, none of them reported "
        f"elsewhere. Area: mean return over the budget, mean of {len(SEEDS)} seeds "
        f"(long: of {LONG_SEEDS}). The first of each estimator is its preset.",
        "",
        "| estimator | long area | area | options |",
        "|---|---|---|---|",
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
            lines.append(f"| {estimator} | {one.long_area:.1f} | {one.area:.1f} | {text} |")
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
