"""A part of an experiment: one method on one objective, all its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pes_rl.estimators.core import Placement

Row = dict[str, Any]
"""What is recorded of some seeds at one update: ``update``, ``seeds``, and a list over the seeds of
everything else."""


class Spread(NamedTuple):
    """How pairs are spread: sums over them, and how many are unrolled at a time, all if None."""

    placement: Placement
    chunk: int | None


class Program(NamedTuple):
    """A computation of one seed; whoever runs it puts seeds side by side.

    Attributes:
      data: tree of arrays that every update reads. They are arguments of what is compiled, lie on
        every device, and are not saved.
      init: ``(data, key) -> state``, a tree of arrays.
      update: ``(data, state) -> (state, sums)``; the sums, scalars by name, are added up from row
        to row.
      look: ``(data, state) -> (state, seen)`` at every row; ``seen``, small arrays by name, is
        recorded.
      layout: True for the branches of the state whose leading axis is that of the pairs.
    """

    data: Any
    init: Callable[[Any, Any], Any]
    update: Callable[[Any, Any], tuple[Any, dict[str, Any]]]
    look: Callable[[Any, Any], tuple[Any, dict[str, Any]]]
    layout: Any


@dataclass(frozen=True)
class Ask:
    """What is asked of a run.

    Attributes:
      stop: receives the number of a signal that asks to stop.
      note: says one line.
      num_updates: stop once so many updates of every seed have been made; None for all.
      chunk: pairs unrolled at a time; None for all.
    """

    stop: Sequence[int]
    note: Callable[[str], None]
    num_updates: int | None = None
    chunk: int | None = None


def _nothing(rows: list[Row]) -> dict[str, Any]:
    del rows
    return {}


@dataclass(frozen=True)
class Part:
    """What is computed, and what it costs.

    Attributes:
      name: as typed.
      updates: of every seed.
      seeds: numbers.
      pairs: what is spread over devices: antithetic pairs, or the points of a random search.
      steps: inner steps of an update of one seed, those of all particles.
      flops: floating-point operations of an inner step, about.
      make: loads the data, builds the program.
      train: ``(part, folder, ask)``, where no program does: goes on with all seeds.
      judge: ``(rows) -> numbers``, once the part is complete.
      settings: what the numbers depend on; a part that was begun with others is not continued.
      records: rows, at most.
    """

    name: str
    updates: int
    seeds: tuple[int, ...]
    pairs: int
    steps: int
    flops: float
    make: Callable[[Spread], Program] | None = None
    train: Callable[[Part, Path, Ask], None] | None = None
    judge: Callable[[list[Row]], dict[str, Any]] = _nothing
    settings: Mapping[str, Any] = field(default_factory=dict)
    records: int = 100

    @property
    def every(self) -> int:
        """Updates from row to row."""
        return max(1, self.updates // self.records)

    @property
    def total_steps(self) -> int:
        """Inner steps of all seeds."""
        return self.updates * self.steps * len(self.seeds)


class Outcome(NamedTuple):
    """What there is of a part, complete or not.

    Attributes:
      part: what was to be computed.
      rows: so far; those of seeds that run one after the other follow each other.
      result: what `Part.judge` found, None while the part is not complete.
    """

    part: Part
    rows: list[Row]
    result: dict[str, Any] | None

    @property
    def complete(self) -> bool:
        """Whether all updates of all seeds have been made and judged."""
        return self.result is not None

    @property
    def progress(self) -> str:
        """How far it is."""
        last = {seed: row["update"] for row in self.rows for seed in row["seeds"]}
        total = self.part.updates * len(self.part.seeds)
        return f"{self.part.name}: {sum(last.values())} of {total} updates recorded"

    @property
    def updates(self) -> np.ndarray:
        """Updates made at the moments that all seeds of `column` have reached, int [R]."""
        return column(self.rows, "update")[0].astype(int)

    def column(self, name: str) -> np.ndarray:
        """One of the recorded quantities, [S, R, ...]."""
        return column(self.rows, name)


def column(rows: list[Row], name: str) -> np.ndarray:
    """A quantity over the rows, [S, R, ...]: of S seeds at the R moments that all have reached."""
    series: dict[int, list[Any]] = {}
    for row in rows:
        for i, seed in enumerate(row["seeds"]):
            series.setdefault(seed, []).append(row[name] if name == "update" else row[name][i])
    moments = min(map(len, series.values()), default=0)
    return np.array([values[:moments] for values in series.values()], float)
