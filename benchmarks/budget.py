"""Whether a larger budget mends a claim that does not hold at the reduced size.

``python -m benchmarks.budget EXPERIMENT --updates N``: ES-Single of ``hyperparameters`` (training
loss, K = 10) or ``many-hyperparameters``, as ``pes-rl reproduce`` has them reduced, but with N
updates, against a random search with as many inner steps. Everything else is unchanged, the step
size too. Writes DIR/budget-EXPERIMENT-N.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from pes_rl.problems.small_images import small_images
from pes_rl.reproductions import hyperparameters, many_hyperparameters
from pes_rl.reproductions.tuning import Task, search, spread
from pes_rl.runtime import one_xla_thread

SEEDS, JUDGES = range(3), 16


def task(name: str) -> Task:
    """The reduced one of an experiment."""
    if name == "many-hyperparameters":
        return many_hyperparameters.task(quick=False)
    return hyperparameters.contests(False, small_images(False))[0].task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=("hyperparameters", "many-hyperparameters"))
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    one_xla_thread()
    chosen = replace(task(asked.experiment), updates=asked.updates)
    found = {"experiment": asked.experiment, "updates": asked.updates}
    for style in ("es-single", "random-search"):
        began = time.monotonic()
        loss = search(chosen, style, SEEDS, JUDGES).loss
        found[style] = loss.tolist()
        print(f"{style}: {spread(loss)}, {time.monotonic() - began:.0f} s", flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"budget-{asked.experiment}-{asked.updates}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
