"""The experiments by name, and what runs one of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pes_rl.console import say
from pes_rl.errors import UserError, suggest
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.storage.files import Place, as_path

# In the order in which ``pes-rl reproduce --list`` shows them.
NAMES = (
    "influence-balancing",
    "toy-regression",
    "variance",
    "hyperparameters",
    "many-hyperparameters",
    "copy-task",
    "character-model",
    "learned-optimizer",
    "swimmer",
)


def load(name: str) -> Experiment:
    """The experiment of one of `NAMES`; imports its module."""
    return import_module(f"pes_rl.reproductions.{name.replace('-', '_')}").EXPERIMENT


def reproduce(
    name: str, *, quick: bool = False, out: Place | None = None, command: str = ""
) -> Path:
    """Run one experiment and write its figures, ``result.json`` and ``claims.md``.

    Args:
      name: one of `NAMES`.
      quick: a smaller variant, under 90 seconds on two cores.
      out: folder to write in; default ``runs/reproductions/NAME`` (``NAME-quick``).
      command: the shell line, kept in ``result.json``.

    Returns:
      The folder.

    Raises:
      UserError: the name is unknown, or the folder cannot be written.
    """
    if name not in NAMES:
        hint = suggest(name, NAMES) or f"; choose from {', '.join(NAMES)}"
        raise UserError(f"unknown experiment {name!r}{hint}")
    folder = Path("runs/reproductions") / (name + "-quick" * quick) if out is None else as_path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {str(folder)!r} is not a folder: {error.strerror}") from None
    experiment = load(name)
    report = Report(name, folder, say)
    experiment.run(quick, report)
    report.finish(quick, command)
    return folder
