"""Why a claim does not hold at the reduced size, asked one setting at a time.

``python -m benchmarks.reductions EXPERIMENT --out DIR`` runs one method of an experiment as
``pes-rl reproduce`` has it reduced, but for what is given: see ``--help`` of each. Prints and
writes what every seed comes to.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.problems.small_images import small_images
from pes_rl.reproductions import (
    character_model,
    copy_task,
    hyperparameters,
    learned_optimizer,
    many_hyperparameters,
)
from pes_rl.reproductions.classic_optimizers import REPORTED, scorer
from pes_rl.reproductions.experiment import Report, rounded
from pes_rl.reproductions.recurrent import Lane, program
from pes_rl.reproductions.tuning import Task, search
from pes_rl.runtime import one_xla_thread

JUDGES = 16
Found = Iterator[tuple[str, Any]]  # names and what came out under them
OBJECTIVES = {"loss-k10": 0, "loss-k100": 1, "error": 2, "final": 3}


def searched(asked: dict[str, Any], chosen: Task) -> Found:
    """Where a method ends, and the best of as many inner steps of random search."""
    names = ("updates", "pairs", "perturb_std", "start")
    changed = {name: asked[name] for name in names if asked.get(name) is not None}
    chosen, seeds = replace(chosen, **changed), range(asked["seeds"])
    for style in (asked["style"], "random-search")[: 1 + asked["random_search"]]:
        track = search(chosen, style, seeds, JUDGES)
        yield f"{style}, loss", track.loss
        yield f"{style}, theta", track.end


def tuned(asked: dict[str, Any]) -> Found:
    """Of ``hyperparameters``."""
    every = hyperparameters.contests(False, small_images(False))
    return searched(asked, every[OBJECTIVES[asked["objective"]]].task)


def tuned_at_once(asked: dict[str, Any]) -> Found:
    """Of ``many-hyperparameters``."""
    chosen = many_hyperparameters.task(quick=False)
    if asked["width"]:
        hidden = tuple(asked["width"] for _ in chosen.problem.hidden)
        chosen = replace(chosen, problem=replace(chosen.problem, hidden=hidden))
    return searched(asked, chosen)


def meta_trained(asked: dict[str, Any]) -> Found:
    """Of ``learned-optimizer``: losses of fresh classifiers, at home and on the larger one."""
    changed = {"pairs": asked["pairs"], "segment": asked["segment_length"]}
    changed = {name: value for name, value in changed.items() if value is not None}
    size = learned_optimizer.FULL
    updates = size.updates * size.segment // changed.get("segment", size.segment)
    size = size._replace(seeds=asked["seeds"], rates=(asked["rate"],), updates=updates, **changed)
    data, hidden = small_images(False).train, asked["hidden"] or learned_optimizer.HIDDEN
    optimizer = learned_optimizer.NET.optimizer
    task = learned_optimizer.classifier(data, tuple(hidden))
    score = scorer(task, optimizer, size.horizon)
    report = Report(asked["experiment"], asked["out"], print)
    own = learned_optimizer.meta_train(asked["style"], task, size, score, report)
    for place in (learned_optimizer.HIDDEN, learned_optimizer.HELD_OUT):
        other = learned_optimizer.classifier(data, place)
        ended = scorer(other, optimizer, size.horizon)(own.theta, REPORTED, size.runs)
        yield f"{place}, mean loss", ended.mean.mean(axis=1)
        yield f"{place}, final loss", ended.final.mean(axis=1)


def lanes(asked: dict[str, Any]) -> list[Lane]:
    """Of a recurrent experiment, with the rate and the sigma that its search chose."""
    return [Lane(seed, asked["rate"], asked["perturb_std"]) for seed in range(asked["seeds"])]


def copied(asked: dict[str, Any]) -> Found:
    """Of ``copy-task``: the longest sequence solved, and when it was."""
    run = program(copy_task.COURSE, copy_task.scheme(asked["style"]))
    rows = run(lanes(asked), copy_task.CHECK, asked["steps"])[1]
    longest = rows.seen.length[:, -1] - 1
    yield "longest solved", longest
    first = [np.argmax(each >= each[-1]) for each in rows.seen.length]
    yield "after steps", [row[i] for row, i in zip(rows.steps, first, strict=True)]


def read(asked: dict[str, Any]) -> Found:
    """Of ``character-model``: bits per character of held-out text."""
    scheme = character_model.scheme(asked["style"])
    if asked["horizon"]:
        scheme = scheme._replace(horizon=asked["horizon"])
    run = program(character_model.course(character_model.choose_text()), scheme)
    rows = run(lanes(asked), character_model.check_every(asked["steps"]), asked["steps"])[1]
    yield "bits", character_model.final_bits(rows)


def parser() -> argparse.ArgumentParser:
    """Every experiment has its own settings."""
    top = argparse.ArgumentParser(description=__doc__)
    each = top.add_subparsers(dest="experiment", required=True)

    def experiment(name: str, run: Any, styles: Sequence[str]) -> argparse.ArgumentParser:
        own = each.add_parser(name, help=run.__doc__)
        own.set_defaults(run=run)
        own.add_argument("--style", choices=styles, default="es-single", help="the method")
        own.add_argument("--seeds", type=int, default=3)
        own.add_argument("--out", type=Path, required=True)
        return own

    for name, run in (("hyperparameters", tuned), ("many-hyperparameters", tuned_at_once)):
        own = experiment(name, run, hyperparameters.ONLINE)
        own.add_argument("--updates", type=int)
        own.add_argument("--pairs", type=int)
        own.add_argument("--perturb-std", type=float)
        own.add_argument("--start", type=float, nargs="+", help="theta [P]")
        own.add_argument("--random-search", action="store_true")
        if run is tuned:
            own.add_argument("--objective", choices=OBJECTIVES, default="loss-k10")
        else:
            own.add_argument("--width", type=int, help="of the hidden layers")
    own = experiment("learned-optimizer", meta_trained, learned_optimizer.ALL)
    own.add_argument("--rate", type=float, default=3e-3, help="Adam's (default: %(default)s)")
    own.add_argument("--pairs", type=int)
    own.add_argument("--segment-length", type=int, help="at as many inner steps")
    own.add_argument("--hidden", type=int, nargs="+", help="layers of the classifier trained on")
    for name, run, steps in (
        ("copy-task", copied, copy_task.FULL),
        ("character-model", read, character_model.FULL),
    ):
        own = experiment(name, run, copy_task.METHODS)
        own.add_argument("--rate", type=float, default=3e-2, help="Adam's (default: %(default)s)")
        own.add_argument("--perturb-std", type=float, default=0.1)
        own.add_argument("--steps", type=int, default=steps)
        if run is read:
            own.add_argument("--horizon", type=int, help="T")
    return top


def main() -> None:
    asked = vars(parser().parse_args())
    one_xla_thread()
    skipped = ("run", "out", "experiment")
    settings = {k: v for k, v in asked.items() if k not in skipped and v not in (None, False)}
    began, found = time.monotonic(), {}
    for name, values in asked["run"](asked):
        found[name] = np.asarray(values)
        print(f"{name}: {np.round(found[name], 3).tolist()}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    asked["out"].mkdir(parents=True, exist_ok=True)
    label = "-".join(f"{name}={value}" for name, value in settings.items())
    path = asked["out"] / f"{asked['experiment']}-{label}.json"
    path.write_text(json.dumps(rounded({"settings": settings, **found}), indent=1) + "\n")


if __name__ == "__main__":
    main()
