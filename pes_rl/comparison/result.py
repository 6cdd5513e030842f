"""What a finished comparison found: read from its folder, before anything is written of it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from pes_rl.comparison.curves import CLOCKS, Curve, Speed, read_curve
from pes_rl.comparison.plan import Cell, Plan
from pes_rl.comparison.store import Store
from pes_rl.comparison.summary import Summary, summarise
from pes_rl.config import FREE, Config
from pes_rl.storage.run_folder import read_exact_resume

# File names of the plots; the seconds are converted, so the file says what they stand for.
PLOTS = {clock: "wall_clock" if clock == "seconds" else clock for clock in CLOCKS}
_SILENT = ("env", "estimator", "seed", *FREE)


class Result(NamedTuple):
    """A comparison with all that its report says of it.

    Attributes:
      plan: what was asked for.
      out: name of the folder.
      curves: one per cell, in the plan's order.
      summary: their estimates.
      versions: by cell name, the packages that made the run.
      gymnasium_ids: by environment, where the policies were scored.
      timings: by environment and estimator, as measured; empty without timing.
      inexact: whether an interrupted run could not have been continued bit for bit.
      foreign: names of runs in the folder that are not part of this comparison.
    """

    plan: Plan
    out: str
    curves: tuple[Curve, ...]
    summary: Summary
    versions: dict[str, str]
    gymnasium_ids: dict[str, str]
    timings: dict[tuple[str, str], dict[str, Any]]
    inexact: bool
    foreign: list[str]


def gather(plan: Plan, store: Store, timing: bool) -> Result:
    """Read every run of the plan, all of which have finished."""
    curves = tuple(_curve(store, cell) for cell in plan.cells)
    environments = {env: plan.environment(env) for env in plan.envs}
    timings: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in plan.first_cells if timing else ():
        found = store.timing(cell)
        assert found is not None
        timings[cell.config.env, cell.config.estimator] = found
    return Result(
        plan,
        store.root.resolve().name,
        curves,
        summarise(
            curves,
            {env: found.threshold for env, found in environments.items()},
            plan.budgets,
            {
                where: Speed(*(found[name] for name in Speed._fields))
                for where, found in timings.items()
            },
        ),
        {cell.name: store.versions(cell) for cell in plan.cells},
        {env: found.gymnasium_id or found.name for env, found in environments.items()},
        timings,
        any(not read_exact_resume(store.run(cell)) for cell in plan.cells),
        store.foreign_runs(plan),
    )


def shown_options(config: Config) -> dict[str, Any]:
    """The options that decide what a run computes, apart from which run it is."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if name not in _SILENT}


def _curve(store: Store, cell: Cell) -> Curve:
    score = store.score(cell)
    assert score is not None
    return read_curve(store.run(cell), cell.config, score["initial_return"], score["score"])
