"""Gymnasium's MuJoCo v5 tasks, one file each."""

from __future__ import annotations

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

_MODULES = (
    half_cheetah,
    swimmer,
    hopper,
    walker2d,
    ant,
    humanoid,
    humanoid_standup,
    reacher,
    pusher,
    inverted_pendulum,
    inverted_double_pendulum,
)

TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _MODULES}
