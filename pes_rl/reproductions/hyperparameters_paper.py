"""A learning rate and its decay at the papers' size: MNIST, 784-100-100-10, 1000 particles."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax

from pes_rl.problems.hyperparameters import Tuning, rate_and_decay
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.figures import letters, panels
from pes_rl.reproductions.paper.contest import METHODS, Contest, fixed, verdict
from pes_rl.reproductions.paper.part import Outcome, Part
from pes_rl.styles import STYLES

HORIZON = 5000
SIZES = (784, 100, 100, 10)
START = (math.log(0.003), math.log(30.0))
# The box of the authors' grid, natural logarithms of 10^-3 .. 10^-0.5 and 10^-2.2 .. 10^2.2.
LOW, HIGH = (-6.908, -5.066), (-1.151, 5.066)
OBJECTIVES = {"loss": "training-loss", "error": "validation-error"}
CLOSE = 1.1


def tuning(objective: str, train: Any, held_out: Any) -> Tuning:
    """Batches of 100, momentum 0.9, rectified units."""
    return Tuning(
        rate_and_decay(HORIZON),
        train,
        held_out,
        objective=objective,
        hidden=SIZES[1:-1],
        batch=100,
        judged=100,
        activation=jax.nn.relu,
    )


def contests() -> list[Contest]:
    """Both objectives, with segments of 10 and of 100 steps."""
    return [
        Contest(
            name=f"{short}-k{K}",
            title=f"{objective.replace('-', ' ')}, K={K}",
            data="mnist",
            tuning=partial(tuning, objective),
            sizes=SIZES,
            start=fixed(START),
            low=LOW,
            high=HIGH,
            particles=1000,
            perturb_std=0.1,
            rate=0.01,
            horizon=HORIZON,
            segment_length=K,
            updates=5000,
            seeds=(0, 1, 2),
        )
        for short, objective in OBJECTIVES.items()
        for K in (10, 100)
    ]


def parts() -> tuple[Part, ...]:
    """Every method on every objective."""
    return tuple(one.part(style) for one in contests() for style in METHODS)


def conclude(outcomes: dict[str, Outcome], report: Report) -> None:
    """Medians over seeds, of fresh trainings."""
    fig, axes = panels(4, size=(4.0, 3.6))
    for one, axis in zip(contests(), axes, strict=True):
        one.draw(axis, outcomes)
        ours = {style: outcomes[f"{one.name}-{style}"] for style in METHODS}
        for style in ("pes", "es-single"):
            measured, holds = verdict(
                ours[style],
                ours["random-search"],
                lambda a, b: sorted(a)[len(a) // 2] <= CLOSE * sorted(b)[len(b) // 2],
            )
            report.claim(
                f"{one.title}: {STYLES[style].label} matches random search at equal inner steps",
                "here",
                measured,
                holds,
            )
        measured, holds = verdict(
            ours["truncated-es"],
            ours["es-single"],
            lambda a, b: sorted(a)[len(a) // 2] > CLOSE * sorted(b)[len(b) // 2],
        )
        report.claim(
            f"{one.title}: truncated ES falls for its short horizon, ES-Single does not",
            "Vicol et al. 2021, 2023",
            measured,
            holds,
        )
    report.result(parts={name: one.result for name, one in outcomes.items()})
    letters(fig)
    report.figure("hyperparameters", fig)


PAPER = Paper(parts, conclude)
