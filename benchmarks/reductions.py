"""Why a claim does not hold at the reduced size, asked one setting at a time.

``python -m benchmarks.reductions EXPERIMENT --out DIR`` with ``--updates``, ``--pairs``,
``--perturb-std`` or ``--start``: ES-Single of ``hyperparameters`` (training loss, K = 10) or
``many-hyperparameters``, as ``pes-rl reproduce`` has it reduced but for what is given, and with
``--random-search`` the best of as many inner steps. Prints and writes losses, and where seeds end.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pes_rl.problems.small_images import small_images
from pes_rl.reproductions import hyperparameters, many_hyperparameters
from pes_rl.reproductions.experiment import rounded
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
    parser.add_argument("--updates", type=int)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--perturb-std", type=float)
    parser.add_argument("--start", type=float, nargs="+", help="theta [P]")
    parser.add_argument("--random-search", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    asked = vars(parser.parse_args())
    one_xla_thread()
    names = ("updates", "pairs", "perturb_std", "start")
    changed = {name: asked[name] for name in names if asked[name] is not None}
    chosen = replace(task(asked["experiment"]), **changed)
    found: dict[str, Any] = {"experiment": asked["experiment"], "changed": changed}
    for style in ("es-single", "random-search")[: 1 + asked["random_search"]]:
        began = time.monotonic()
        track = search(chosen, style, SEEDS, JUDGES)
        found[style] = {"loss": track.loss, "theta": track.end}
        print(f"{style}: {spread(track.loss)}, {time.monotonic() - began:.0f} s", flush=True)
    asked["out"].mkdir(parents=True, exist_ok=True)
    path = asked["out"] / f"{'-'.join([asked['experiment'], *changed])}.json"
    path.write_text(json.dumps(rounded(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
