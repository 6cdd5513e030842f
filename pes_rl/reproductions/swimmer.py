"""Swimmer as the PES paper has it: a linear policy, and the estimators' curves over seeds."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

from pes_rl.reproductions.climbs import Climb, climb
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.swimmer_paper import SWIMMING
from pes_rl.reproductions.swimmer_trainings import (
    AUTHORS,
    SAC,
    Size,
    config,
    figure,
    judge,
    settings,
    show,
    steps,
)

REDUCED = Size(tuple(AUTHORS), (3, 5, 7), 200_000, 10_000)
QUICK = Size(("pes", "truncated-es"), (3,), 60_000, 20_000)


def train_all(size: Size, folder: Path, report: Report) -> dict[str, list[Climb]]:
    """Every method on every seed, in folders of their own; says what is found, and the time."""
    found: dict[str, list[Climb]] = {}
    total = len(size.methods) * len(size.seeds) * size.env_steps
    began: list[float] = []

    def scored(label: str, env_steps: int, before: bool) -> None:
        if before:
            report.note(f"{label} goes on from {env_steps:,} env steps")
        began.append(time.monotonic())
        if len(began) == 2:  # the second one comes after the first steps
            minutes = (began[1] - began[0]) / size.eval_every * total / 60
            report.note(f"{total:,} env steps of training in all, about {minutes:.0f} min")

    for name in size.methods:
        found[name] = []
        for seed in size.seeds:
            label = f"{name}-{seed}"
            one = climb(config(name, seed, size), folder / label, partial(scored, label))
            found[name].append(one)
        report.note(f"{name}: {show(found[name])}; {SAC:.0f} reached by {steps(found[name])}")
    return found


def run(quick: bool, report: Report) -> None:
    """Train, draw, judge, with fewer seeds and steps; trainings that were cut off go on."""
    size = QUICK if quick else REDUCED
    report.setting(**settings(size))
    folder = report.out / "trainings"
    found = train_all(size, folder, report)
    report.result(
        climbs={
            name: {seed: one._asdict() for seed, one in zip(size.seeds, own, strict=True)}
            for name, own in found.items()
        }
    )
    judge(found, report)
    report.figure("swimmer", figure(found))
    shutil.rmtree(folder)


EXPERIMENT = Experiment(
    name="swimmer",
    description="a linear policy swims: PES, truncated and full ES, ES-Single",
    source="Vicol, Metz and Sohl-Dickstein 2021, reinforcement learning",
    minutes=10,
    run=run,
    paper=SWIMMING,
)
