"""Trainings of a policy, scored along the way, that go on where they were cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pes_rl.config import Config
from pes_rl.runtime import training_math
from pes_rl.storage.checkpoint import (
    flatten,
    has_checkpoint,
    load_latest,
    save_checkpoint,
    unflatten,
)
from pes_rl.training.make import make_trainer
from pes_rl.training.protocol import Trainer


class Climb(NamedTuple):
    """Returns [R] of the unperturbed policy, and the env steps [R] after which they were scored."""

    env_steps: np.ndarray
    returns: np.ndarray


def climb(
    config: Config,
    folder: Path,
    scored: Callable[[int, bool], None],
    begun: Callable[[Trainer], None] = lambda trainer: None,
    over: Callable[[int], bool] = lambda updates: False,
) -> Climb:
    """Train as configured; with every score a checkpoint is saved in ``folder``.

    Args:
      config: the training; scored every ``eval_every`` env steps, at its start and at its end.
      folder: of this training alone. A checkpoint there is gone on from, bit for bit, if it is of
        the same configuration.
      scored: ``(env steps, whether they were found there)``, after every score.
      begun: ``(trainer)``, before anything is scored.
      over: ``(updates made)``, before every update: whether to save and stop there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = json.loads(json.dumps(dataclasses.asdict(config)))
    with training_math(), contextlib.closing(make_trainer(config)) as trainer:
        rows: list[tuple[int, float]] = []

        def save() -> None:
            state = flatten(trainer.state())
            save_checkpoint(folder, trainer.env_steps, state, {"asked": asked, "rows": rows})

        def score() -> None:
            rows.append((trainer.env_steps, trainer.evaluate().mean))
            save()
            scored(trainer.env_steps, False)

        begun(trainer)
        found = load_latest(folder) if has_checkpoint(folder) else None
        if found is not None and found.meta["asked"] == asked:
            trainer.restore(unflatten(trainer.state(), found.arrays))
            rows = [(int(steps), float(value)) for steps, value in found.meta["rows"]]
            scored(trainer.env_steps, True)
        else:
            score()
        while trainer.env_steps < config.num_env_steps and not over(trainer.updates):
            before = trainer.env_steps // config.eval_every
            trainer.advance()
            last = trainer.env_steps >= config.num_env_steps
            if last or trainer.env_steps // config.eval_every > before:
                score()
        if rows[-1][0] < trainer.env_steps:
            save()
    return Climb(*(np.array(column) for column in zip(*rows, strict=True)))


def first_at_least(one: Climb, goal: float) -> float:
    """Env steps after which a return of ``goal`` was first scored; infinite if it never was."""
    reached: Any = one.returns >= goal
    return float(one.env_steps[reached.argmax()]) if reached.any() else np.inf
