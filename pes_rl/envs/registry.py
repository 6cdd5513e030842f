"""What can be trained: the eleven MuJoCo tasks by name, and any other Gymnasium id.

Standard library only, so that ``--help``, typos and configuration errors answer at once; Gymnasium
is imported only for a name that the table does not hold.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from pes_rl.errors import UserError, suggest


@dataclass(frozen=True)
class Environment:
    """One environment as the command line knows it, before any engine is imported.

    Attributes:
      name: what users type and runs record.
      gymnasium_id: the official environment that scores the policy.
      engines: engines that can step it, the default one first.
      horizon: time limit in env steps, None where Gymnasium sets none.
      observation_size: length of one observation, None where only making it would tell.
      action_size: length of one action, None where only making it would tell.
      threshold: episode return that counts as solved, None where nobody has set a meaningful one.
      tuned: whether its presets come from a search of ours; the others are from the literature.
    """

    name: str
    gymnasium_id: str
    engines: tuple[str, ...]
    horizon: int | None
    observation_size: int | None = None
    action_size: int | None = None
    threshold: float | None = None
    tuned: bool = False


_TUNED = ("HalfCheetah", "Swimmer")


def _task(name: str, horizon: int, observation: int, action: int, threshold: float | None):
    engines, tuned = ("mujoco", "gymnasium"), name in _TUNED
    return Environment(name, f"{name}-v5", engines, horizon, observation, action, threshold, tuned)


# Thresholds are those of the ARS paper (Mania et al. 2018) where it has the task, else Gymnasium's
# reward_threshold; none for Pusher, whose registered 0 no policy can reach, and HumanoidStandup.
TASKS: dict[str, Environment] = {
    task.name: task
    for task in (
        _task("Ant", 1000, 105, 8, 3580.0),
        _task("HalfCheetah", 1000, 17, 6, 3430.0),
        _task("Hopper", 1000, 11, 3, 3120.0),
        _task("Humanoid", 1000, 348, 17, 6000.0),
        _task("HumanoidStandup", 1000, 348, 17, None),
        _task("InvertedDoublePendulum", 1000, 9, 1, 9100.0),
        _task("InvertedPendulum", 1000, 4, 1, 950.0),
        _task("Pusher", 100, 23, 7, None),
        _task("Reacher", 50, 10, 2, -3.75),
        _task("Swimmer", 1000, 8, 2, 325.0),
        _task("Walker2d", 1000, 17, 6, 4390.0),
    )
}

_VERSIONED = re.compile(r"(?P<base>.+)-v(?P<version>\d+)")


def resolve(name: str, engine: str | None = None) -> Environment:
    """The environment called ``name``, on ``engine`` if one was asked for.

    ``HalfCheetah`` and ``HalfCheetah-v5`` are the same task. Its other versions are other tasks:
    they are never taken for v5, and only the ``gymnasium`` engine runs them.
    """
    base, version = _split(name)
    if base in TASKS and version in (None, "5"):
        environment = TASKS[base]
    elif base in TASKS and engine != "gymnasium":
        raise UserError(
            f"environment {name!r} is another version of {base!r}, which is v5 here; "
            f"use --env {base}, or keep {name!r} with --engine gymnasium"
        )
    else:
        environment = _from_gymnasium(name)
    if engine is not None and engine not in environment.engines:
        raise UserError(
            f"engine {engine!r} has no environment {name!r}; "
            f"use --engine {environment.engines[0]} (pes-rl envs lists every task)"
        )
    return environment


def _split(name: str) -> tuple[str, str | None]:
    match = _VERSIONED.fullmatch(name)
    return (match["base"], match["version"]) if match else (name, None)


def _from_gymnasium(name: str) -> Environment:
    near_task = suggest(name, TASKS)
    if near_task and _split(name)[1] is None:
        raise UserError(f"unknown environment {name!r}{near_task}")
    import gymnasium

    module, _, registered_name = name.rpartition(":")
    if module:  # Gymnasium's own way to name a package that registers environments when imported
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"environment {name!r}: cannot import {module!r}: {error}") from None
    spec = gymnasium.registry.get(registered_name)
    if spec is None:
        ids = [i for i in gymnasium.registry if _split(i)[0] not in TASKS]
        known = [*TASKS, *(task.gymnasium_id for task in TASKS.values()), *ids]
        hint = suggest(name, known) or "; pes-rl envs lists the tasks"
        raise UserError(f"unknown environment {name!r}{hint}")
    return Environment(
        name, name, ("gymnasium",), spec.max_episode_steps, threshold=spec.reward_threshold
    )
