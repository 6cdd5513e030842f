"""The papers' experiments, one module each: ``pes-rl reproduce NAME``.

A module declares ``EXPERIMENT``, an `pes_rl.reproductions.experiment.Experiment`. The names are
listed here in the order in which ``pes-rl reproduce --list`` shows them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pes_rl.reproductions.experiment import Experiment

NAMES = (
    "influence-balancing",
    "toy-regression",
    "variance",
    "hyperparameters",
    "many-hyperparameters",
    "copy-task",
    "character-model",
    "learned-optimizer",
)


def load(name: str) -> Experiment:
    """The experiment of one of `NAMES`; imports its module."""
    return import_module(f"pes_rl.reproductions.{name.replace('-', '_')}").EXPERIMENT
