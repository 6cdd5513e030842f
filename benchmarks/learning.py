"""What the shipped presets learn: ``python -m benchmarks.learning [--env ...] [--out DIR]``.

Trains the tuned presets with several seeds at equal env steps, and writes to DIR the curves
(``learning.jsonl``), a table with every seed (``learning.md``) and a figure (``learning.png`` and
``.svg``). Evaluations are means over 10 fresh episodes of the unperturbed policy.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import steps_to, train_curves, worker_pool
from pes_rl.envs.registry import TASKS

BUDGETS = {"Swimmer": 300_000, "HalfCheetah": 3_000_000}
ESTIMATORS = {
    "Swimmer": ("es-single", "pes", "es", "truncated-es"),
    "HalfCheetah": ("es-single", "es"),  # those whose presets are tuned there
}
STYLES = {
    "es-single": ("C0", "-"),
    "pes": ("C1", "--"),
    "es": ("C2", "-."),
    "truncated-es": ("C3", ":"),
}
Runs = dict[tuple[str, str], list[dict[str, Any]]]


def train(envs: list[str], seeds: int, out: Path, workers: int) -> Runs:
    """Results of all runs by (environment, estimator), one per seed."""
    jobs = [
        {"env": env, "estimator": estimator, "seed": seed, "num_env_steps": BUDGETS[env]}
        for env in envs
        for estimator in ESTIMATORS[env]
        for seed in range(seeds)
    ]
    with worker_pool(workers) as pool:
        results = train_curves(jobs, out / "learning.jsonl", pool)
    runs: Runs = {}
    for job, result in zip(jobs, results, strict=True):
        runs.setdefault((job["env"], job["estimator"]), []).append(result)
    return runs


def table(runs: Runs) -> str:
    """Markdown: env steps to the threshold and best return, every seed and the median."""
    columns = ("task", "estimator", "env steps to threshold", "median", "best return", "median")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (env, estimator), results in runs.items():
        threshold = TASKS[env].threshold
        assert threshold is not None
        steps = [steps_to(r["curve"], threshold) for r in results]
        best = [max(value for _, value in r["curve"]) for r in results]
        lines.append(
            f"| {env} ({threshold:g}) | {estimator} | {', '.join(map(_steps, steps))} "
            f"| {_steps(float(np.median(steps)))} | {', '.join(f'{b:.0f}' for b in best)} "
            f"| {np.median(best):.0f} |"
        )
    return "\n".join(lines) + "\n"


def _steps(steps: float) -> str:
    if math.isinf(steps):
        return "never"
    return f"{steps / 1e6:.2f} M" if steps >= 1e6 else f"{steps / 1e3:.0f} k"


def figure(runs: Runs, out: Path) -> None:
    """Median curve and the range of all seeds, one panel per task."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    envs = list(dict.fromkeys(env for env, _ in runs))
    fig, axes = pyplot.subplots(1, len(envs), figsize=(5.5 * len(envs), 3.8), squeeze=False)
    for axis, env in zip(axes[0], envs, strict=True):
        for estimator in ESTIMATORS[env]:
            curves = [r["curve"] for r in runs[env, estimator]]
            grid = np.linspace(0, BUDGETS[env], 61)
            values = np.array([np.interp(grid, *np.array(c, float).T) for c in curves])
            color, style = STYLES[estimator]
            axis.fill_between(grid, values.min(0), values.max(0), color=color, alpha=0.12, lw=0)
            axis.plot(grid, np.median(values, axis=0), style, color=color, label=estimator)
        threshold = TASKS[env].threshold
        axis.axhline(threshold, color="0.4", lw=0.8)
        axis.annotate(
            f"solved at {threshold:g}", (0, threshold), va="bottom", fontsize=8, color="0.3"
        )
        axis.set(title=f"{env}-v5", xlabel="env steps", ylabel="episode return")
        axis.ticklabel_format(axis="x", scilimits=(5, 6))
        axis.grid(alpha=0.2)
    axes[0][0].legend(loc="center right", fontsize=8)
    fig.suptitle("Median and range over seeds", fontsize=9)
    fig.tight_layout()
    for suffix in ("png", "svg"):
        # No date, so that equal results make equal files.
        meta = {"Date": None} if suffix == "svg" else {}
        fig.savefig(out / f"learning.{suffix}", dpi=130, metadata=meta)
    pyplot.close(fig)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.learning")
    parser.add_argument("--env", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/learning"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = train(args.env, args.seeds, args.out, args.workers)
    (args.out / "learning.md").write_text(table(runs))
    figure(runs, args.out)
    print(table(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
