"""Gymnasium's MuJoCo v5 tasks, one file each, with Gymnasium's keyword arguments.

Each file has ``make(**kwargs) -> Task``, whose keyword arguments are those of Gymnasium's class
that leave the model as it is, with the same defaults and meanings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pes_rl.envs.task import Task
from pes_rl.envs.tasks import (
    ant,
    half_cheetah,
    hopper,
    humanoid,
    humanoid_standup,
    inverted_double_pendulum,
    inverted_pendulum,
    pusher,
    reacher,
    swimmer,
    walker2d,
)
from pes_rl.envs.tasks.arguments import checked
from pes_rl.errors import UserError, suggest

MAKERS: dict[str, Callable[..., Task]] = {
    "HalfCheetah": half_cheetah.make,
    "Swimmer": swimmer.make,
    "Hopper": hopper.make,
    "Walker2d": walker2d.make,
    "Ant": ant.make,
    "Humanoid": humanoid.make,
    "HumanoidStandup": humanoid_standup.make,
    "Reacher": reacher.make,
    "Pusher": pusher.make,
    "InvertedPendulum": inverted_pendulum.make,
    "InvertedDoublePendulum": inverted_double_pendulum.make,
}

TASKS: dict[str, Task] = {name: make() for name, make in MAKERS.items()}


def make_task(name: str, kwargs: Mapping[str, Any]) -> Task:
    """The task ``name`` with some of Gymnasium's keyword arguments, as JSON holds them.

    Ranges may be lists. UserError for an argument that the task's definition does not have, and for
    a value that it cannot have.
    """
    defaults = _defaults(name)
    for unknown in not_honoured(name, kwargs):
        hint = suggest(unknown, defaults) or "; use --engine gymnasium for Gymnasium's others"
        raise UserError(f"{name} has no keyword argument {unknown!r} here{hint}")
    return MAKERS[name](
        **{
            keyword: checked(name, keyword, value, defaults[keyword])
            for keyword, value in kwargs.items()
        }
    )


def not_honoured(name: str, kwargs: Mapping[str, Any]) -> list[str]:
    """The keyword arguments that the definition of ``name`` does not have, such as ``xml_file``."""
    return [keyword for keyword in kwargs if keyword not in _defaults(name)]


def _defaults(name: str) -> dict[str, Any]:
    return MAKERS[name].__kwdefaults__ or {}
