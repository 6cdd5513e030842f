"""Experiment trackers: W&B and MLflow are sent what TensorBoard is."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from pes_rl.config import Config
from pes_rl.console import warn
from pes_rl.errors import UserError, shown
from pes_rl.storage.run_folder import read_properties, write_properties

Log = Callable[[dict[str, Any]], None]


def require_tracker(name: str | None) -> None:
    """Raise UserError unless there is such a tracker (or none is asked for) and it is installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise UserError(f"track must be {' or '.join(TRACKERS)}, not {shown(name)}")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # a mere folder: W&B leaves one of its name
        raise UserError(f"--track {name} needs a package: pip install {TRACKERS[name][0]}")


@contextlib.contextmanager
def tracking(name: str | None, run: Path, config: Config) -> Iterator[Log]:
    """What is to be given the rows of ``metrics.jsonl``, while the tracker ``name`` is open.

    A run that is resumed goes on in the tracker's run of before. What goes wrong in between is
    warned about, once, and loses nothing but what the tracker shows.
    """
    if name is None:
        yield lambda row: None
        return
    known = read_properties(run).get("trackers", {})
    with contextlib.ExitStack() as opened:
        try:
            number, log = opened.enter_context(TRACKERS[name][1](run, config, known.get(name)))
        except Exception as error:
            why = str(error).partition("\n")[0]
            raise UserError(f"{name} cannot track the run: {why}") from error
        write_properties(run, trackers=known | {name: number})
        yield _guarded(name, log)


def _guarded(name: str, log: Log) -> Log:
    broken = False

    def row_by_row(row: dict[str, Any]) -> None:
        nonlocal broken
        if broken:
            return
        numbers = {key: value for key, value in row.items() if value is not None}
        try:
            log({key: value for key, value in numbers.items() if math.isfinite(value)})
        except Exception as error:
            broken = True
            warn(f"{name} gets no more of this run: {error}")

    return row_by_row


Opened = contextlib.AbstractContextManager[tuple[str, Log]]


@contextlib.contextmanager
def _wandb(run: Path, config: Config, number: str | None) -> Iterator[tuple[str, Log]]:
    tracked = import_module("wandb").init(
        project=os.environ.get("WANDB_PROJECT", "pes-rl"),
        name=run.name,
        config=asdict(config),
        id=number,
        resume=None if number is None else "allow",
    )
    tracked.define_metric("*", step_metric="env_steps")
    code = 1
    try:
        yield tracked.id, tracked.log
        code = 0
    finally:
        tracked.finish(exit_code=code)


@contextlib.contextmanager
def _mlflow(run: Path, config: Config, number: str | None) -> Iterator[tuple[str, Log]]:
    mlflow = import_module("mlflow")
    with mlflow.start_run(run_id=number, run_name=run.name) as tracked:
        if number is None:  # MLflow refuses parameters that change
            mlflow.log_params(asdict(config))
        yield (
            tracked.info.run_id,
            lambda row: mlflow.log_metrics(row, step=row["env_steps"]),
        )


# What is to be installed, and what opens a tracker's run: ``(folder, config, id of before)``.
TRACKERS: Mapping[str, tuple[str, Callable[[Path, Config, str | None], Opened]]] = {
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow-skinny", _mlflow),
}
