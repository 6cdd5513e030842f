"""Search behind a preset: ``python -m benchmarks.tune GRID.yaml --out RESULTS.jsonl``.

A grid file lists option sets under ``runs`` (each with its own ``seeds``) over ``common`` options.
Seeds of a search are kept apart from those of a reported result. Prints the runs best first: by
env steps to the task's threshold, then by best return, medians over seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import yaml

from benchmarks.curves import Options, steps_to, train_curves
from pes_rl.envs.registry import TASKS


def expand(grid: Options) -> list[list[Options]]:
    """Jobs of every option set, one per seed."""
    sets = []
    for entry in grid["runs"]:
        options = {**grid.get("common", {}), **entry}
        seeds = options.pop("seeds")
        sets.append([{**options, "seed": seed} for seed in seeds])
    return sets


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.tune")
    parser.add_argument("grid", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    sets = expand(yaml.safe_load(args.grid.read_text()))
    results = train_curves([job for jobs in sets for job in jobs], args.out, args.workers)
    ranked, start = [], 0
    for jobs in sets:
        curves = [r["curve"] for r in results[start : start + len(jobs)]]
        start += len(jobs)
        threshold = TASKS[jobs[0]["env"]].threshold or np.inf
        steps = float(np.median([steps_to(curve, threshold) for curve in curves]))
        best = float(np.median([max(value for _, value in curve) for curve in curves]))
        shown = {k: v for k, v in jobs[0].items() if k not in ("env", "seed")}
        ranked.append((steps, -best, len(jobs), shown))
    for steps, negated, seeds, shown in sorted(ranked, key=lambda item: item[:2]):
        print(f"{steps:>9.0f} env steps, best {-negated:7.1f}, {seeds} seeds: {shown}")


if __name__ == "__main__":
    main(sys.argv[1:])
