"""29 hyperparameters at the papers' size: Fashion-MNIST, five layers of 100, 50 000 updates."""

from __future__ import annotations

import math
from typing import Any

import jax

from pes_rl.problems.hyperparameters import Tuning, widths_rates_momenta
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.figures import letters, panels
from pes_rl.reproductions.paper.contest import METHODS, Contest, verdict
from pes_rl.reproductions.paper.part import Outcome, Part
from pes_rl.styles import STYLES

HIDDEN = 5
SIZES = (784, *[100] * HIDDEN, 10)
COUNTS = (HIDDEN, 2 * (HIDDEN + 1), 2 * (HIDDEN + 1))  # widths, learning rates, momenta


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


# Of each group, as in the authors' code: where random search and where descents may begin.
SEARCHED = (
    (_logit(0.01), _logit(0.999)),
    (math.log(1e-8), math.log(10.0)),
    (_logit(0.01), _logit(0.999)),
)
BEGUN = (
    (_logit(0.2), _logit(0.8)),
    (math.log(1e-4), math.log(1e-2)),
    (_logit(0.01), _logit(0.9)),
)


def ends(box: tuple[tuple[float, float], ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The corners [29] of a box given by groups."""
    pairs = [pair for pair, count in zip(box, COUNTS, strict=True) for _ in range(count)]
    return tuple(low for low, _ in pairs), tuple(high for _, high in pairs)


def start(key: Any) -> jax.Array:
    """Drawn for every seed."""
    low, high = (jax.numpy.asarray(end) for end in ends(BEGUN))
    return jax.random.uniform(key, low.shape, minval=low, maxval=high)


def tuning(train: Any, held_out: Any) -> Tuning:
    """Batches of 100, rectified units; judged by 100 held-out images after every step."""
    return Tuning(
        widths_rates_momenta(HIDDEN),
        train,
        held_out,
        objective="validation-loss",
        hidden=SIZES[1:-1],
        batch=100,
        judged=100,
        activation=jax.nn.relu,
    )


def contest() -> Contest:
    """The authors' settings; their seeds are numbers of another generator."""
    low, high = ends(SEARCHED)
    return Contest(
        name="many",
        title="Mean loss on held-out images",
        data="fashion-mnist",
        tuning=tuning,
        sizes=SIZES,
        start=start,
        low=low,
        high=high,
        particles=10,
        perturb_std=0.3,
        rate=0.01,
        horizon=1000,
        segment_length=10,
        updates=50_000,
        seeds=(3, 5, 7, 11),
        runs=10,
    )


def parts() -> tuple[Part, ...]:
    """Every method."""
    return tuple(contest().part(style) for style in METHODS)


def conclude(outcomes: dict[str, Outcome], report: Report) -> None:
    """Better is better on every seed."""
    one = contest()
    found = {style: outcomes[f"{one.name}-{style}"] for style in METHODS}
    sources = {"pes": "Vicol et al. 2021", "es-single": "Vicol et al. 2023"}
    for style, source in sources.items():
        measured, holds = verdict(
            found[style], found["random-search"], lambda a, b: max(a) < min(b)
        )
        report.claim(
            f"{STYLES[style].label} is better than random search at equal inner steps, whatever "
            "the seeds",
            source,
            measured,
            holds,
        )
    measured, holds = verdict(found["truncated-es"], found["pes"], lambda a, b: min(a) > max(b))
    report.claim(
        "truncated ES is worse than PES, whatever the seeds", sources["pes"], measured, holds
    )
    report.result(parts={name: one.result for name, one in outcomes.items()})
    fig, (axis,) = panels(1, size=(6.0, 4.0))
    one.draw(axis, outcomes)
    letters(fig)
    report.figure("many-hyperparameters", fig)


PAPER = Paper(parts, conclude)
