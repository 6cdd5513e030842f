"""What one run leaves behind for a comparison: its evaluations, against four clocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pes_rl.config import Config
from pes_rl.storage.metrics import read_metrics

# The clocks that training is measured by. Sequential steps are the depth of the computation:
# updates times the env steps that an update takes one particle, however many run side by side.
CLOCKS = ("env_steps", "updates", "sequential_steps", "seconds")


class Score(NamedTuple):
    """The selected policy on unseen seeds, where `pes_rl.evaluate` plays it."""

    mean: float
    std: float
    episodes: int
    seed: int


class Speed(NamedTuple):
    """Training alone, after compilation: without evaluations and checkpoints."""

    env_steps_per_second: float
    updates_per_second: float


class Curve(NamedTuple):
    """One run: E evaluations of the unperturbed policy, the untrained one first.

    Attributes:
      env, estimator, seed: which run.
      env_steps: [E], increasing from 0.
      updates: [E], increasing from 0.
      returns: [E], mean return of each evaluation's episodes.
      depth: env steps of one update for one particle: the segment length, for es the horizon.
      score: None if it was not played.
      broken: how many evaluations, the score among them, had an episode that broke down; each of
        them counts as the run's lowest return.
    """

    env: str
    estimator: str
    seed: int
    env_steps: np.ndarray
    updates: np.ndarray
    returns: np.ndarray
    depth: int
    score: Score | None = None
    broken: int = 0

    def clock(self, name: str, speed: Speed | None = None) -> np.ndarray:
        """The x-axis ``name`` of ``CLOCKS`` [E]; seconds need a measured ``speed``."""
        if name == "seconds":
            assert speed is not None
            return self.env_steps / speed.env_steps_per_second
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "sequential_steps": self.updates * self.depth,
        }[name].astype(float)


def read_curve(
    run: Path, config: Config, initial_return: float | None, score: Mapping[str, Any]
) -> Curve:
    """The curve of a finished run folder, at least one evaluation of which was sound.

    Args:
      run: the folder; its metrics.jsonl holds the evaluations.
      config: what was run.
      initial_return: mean return of the untrained policy, which the run itself does not evaluate;
        None, as in all that is read of JSON, if an episode broke down.
      score: result of `pes_rl.evaluate`.
    """
    points = [(0, 0, initial_return)]
    points += [
        (row["env_steps"], row["update"], row["eval/episode_return"])
        for row in read_metrics(run)
        if "eval/episode_return" in row
    ]
    env_steps, updates, means = zip(*points, strict=True)
    returns = np.array([*means, score["episode_return_mean"]], float)  # None becomes NaN
    broken = np.isnan(returns)
    returns[broken] = np.nanmin(returns)
    std = score["episode_return_std"]
    return Curve(
        config.env,
        config.estimator,
        config.seed,
        np.array(env_steps),
        np.array(updates),
        returns[:-1],
        config.unroll_length,
        Score(
            float(returns[-1]),
            math.nan if std is None else std,
            score["episodes"],
            score["seed"],
        ),
        int(broken.sum()),
    )
