"""Swimmer at the paper's size: six seeds, half a million env steps, a part for every method."""

from __future__ import annotations

from functools import partial
from typing import Any

from pes_rl.config import Config
from pes_rl.reproductions.climbs import Climb
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.paper.climbing import ENV_STEPS, RETURN, train
from pes_rl.reproductions.paper.part import Outcome, Part, Row, column
from pes_rl.reproductions.swimmer_trainings import (
    AUTHORS,
    PAIRS,
    K,
    Size,
    T,
    config,
    figure,
    judge,
    settings,
)

SIZE = Size(tuple(AUTHORS), (3, 5, 7, 11, 13, 23), 500_000, 10_000)
_PHYSICS = 3e5  # operations of an env step: 16 evaluations of the dynamics, some 20 000 each


def _config(method: str, seed: int) -> Config:
    return config(method, seed, SIZE)


def _final(rows: list[Row]) -> dict[str, Any]:
    return {"final": column(rows, RETURN)[:, -1]}


def parts() -> tuple[Part, ...]:
    """Every method."""
    made = []
    for method in SIZE.methods:
        one = SIZE._replace(methods=(method,))
        per_update = 2 * PAIRS * (T if method == "es" else K)
        made.append(
            Part(
                name=method,
                updates=SIZE.env_steps // per_update,
                seeds=SIZE.seeds,
                pairs=PAIRS,
                steps=per_update,
                flops=_PHYSICS,
                train=partial(train, partial(_config, method)),
                judge=_final,
                settings=settings(one),
            )
        )
    return tuple(made)


def climbs(one: Outcome) -> list[Climb]:
    """The trainings of a part."""
    return [Climb(*both) for both in zip(one.column(ENV_STEPS), one.column(RETURN), strict=True)]


def conclude(outcomes: dict[str, Outcome], report: Report) -> None:
    """The claims of complete parts, the curves of all."""
    found = {name: climbs(one) for name, one in outcomes.items() if one.complete}
    under_way = {name: one.progress for name, one in outcomes.items() if not one.complete}
    judge(found, report, under_way)
    drawn = {name: climbs(one) for name, one in outcomes.items() if len(one.rows) > 1}
    report.result(parts={name: one.result for name, one in outcomes.items()})
    if drawn:
        report.figure("swimmer-paper", figure(drawn))


SWIMMING = Paper(parts, conclude)
