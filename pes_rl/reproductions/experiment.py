"""What an experiment is, and what it leaves behind: figures, numbers, and claims with verdicts."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.reproductions.paper.part import Outcome, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VERDICTS = {True: "yes", False: "NO", None: "?"}
_TABLE = {True: "yes", False: "**no**", None: "not run yet"}
SIZES = ("quick", "reduced", "paper")
_PACKAGES = ("pes-rl", "jax", "jaxlib", "numpy", "optax", "matplotlib")


class Paper(NamedTuple):
    """An experiment at the papers' size.

    Attributes:
      parts: gives its parts; cheap, no data are loaded.
      conclude: ``(outcomes by part, report) -> None``; claims and figures from what there is. A
        part may not have begun, or not be complete.
    """

    parts: Callable[[], tuple[Part, ...]]
    conclude: Callable[[dict[str, Outcome], Report], None]


@dataclass(frozen=True)
class Experiment:
    """One experiment of the papers.

    Attributes:
      name: as typed.
      description: one line for ``--list``.
      source: the paper and its section.
      minutes: about how long the reduced one takes on two CPU cores.
      run: ``(quick, report) -> None``; computes, and hands everything to the report. The quick
        variant takes under a minute and keeps the direction of every claim it states.
      paper: the papers' size in parts; None where the reduced one has it already.
    """

    name: str
    description: str
    source: str
    minutes: float
    run: Callable[[bool, Report], None]
    paper: Paper | None = None


class Claim(NamedTuple):
    """One statement of a paper, and what was measured here.

    Attributes:
      claim: the statement.
      source: who states it.
      measured: the numbers, with their uncertainty.
      holds: whether they support it; None if that is not known yet.
    """

    claim: str
    source: str
    measured: str
    holds: bool | None


class Report:
    """Collects one experiment's findings; `finish` writes them directly in ``out``."""

    def __init__(self, name: str, out: Path, say: Callable[[str], None]) -> None:
        self.name, self.out = name, out
        self.claims: list[Claim] = []
        self.settings: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.figures: list[str] = []
        self._say, self._began = say, time.monotonic()

    def note(self, text: str) -> None:
        """One line of progress, with the time since the start."""
        self._say(f"{self.name} {time.monotonic() - self._began:6.1f} s  {text}")

    def setting(self, **values: Any) -> None:
        """Hyperparameters, for ``result.json``."""
        self.settings |= values

    def result(self, **values: Any) -> None:
        """Numbers, arrays or dicts of them, for ``result.json``."""
        self.results |= values

    def claim(self, claim: str, source: str, measured: str, holds: Any) -> None:
        """State whether the numbers support a claim, None if there are not enough yet."""
        made = Claim(claim, source, measured, None if holds is None else bool(holds))
        self.claims.append(made)
        self.note(f"{_VERDICTS[made.holds]:3s}  {claim}: {measured}")

    def figure(self, name: str, figure: Figure) -> None:
        """Save a figure as ``name.png`` and ``name.svg``, and close it."""
        from matplotlib import pyplot

        for suffix in ("png", "svg"):
            # No date, so that equal results make equal files.
            metadata = {"Date": None} if suffix == "svg" else {}
            figure.savefig(self.out / f"{name}.{suffix}", metadata=metadata)
        pyplot.close(figure)
        self.figures.append(name)

    def finish(self, size: str, command: str) -> None:
        """Write ``result.json`` and ``claims.md``."""
        record = {
            "experiment": self.name,
            "size": size,
            "command": command,
            "wall_time_s": round(time.monotonic() - self._began, 1),
            "versions": {"python": platform.python_version()}
            | {package: version(package) for package in _PACKAGES},
            "settings": rounded(self.settings),
            "claims": [claim._asdict() for claim in self.claims],
            "figures": self.figures,
            "results": rounded(self.results),
        }
        (self.out / "result.json").write_text(json.dumps(record, indent=1) + "\n")
        (self.out / "claims.md").write_text(claims_table(self.claims))


def claims_table(claims: list[Claim]) -> str:
    """Markdown, one row a claim."""
    rows = [("claim", "source", "measured", "holds?"), ("---",) * 4]
    rows += [(c.claim, c.source, c.measured, _TABLE[c.holds]) for c in claims]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
    )


def rounded(value: Any) -> Any:
    """JSON types only: arrays as lists of six digits, non-finite numbers as null."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [rounded(item) for item in value]
    if isinstance(value, np.generic) or hasattr(value, "tolist"):
        return rounded(np.asarray(value).tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
