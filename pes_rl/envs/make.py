"""From a configuration to a simulator of its environment."""

from __future__ import annotations

import os

from pes_rl.config import Config
from pes_rl.envs.registry import resolve
from pes_rl.envs.simulator import Simulator


def available_threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_simulator(config: Config, num_particles: int) -> Simulator:
    """``num_particles`` copies of the configured environment on the configured engine."""
    threads = min(config.num_threads or available_threads(), num_particles)
    if config.engine == "mujoco":
        from pes_rl.envs.mujoco_engine import MujocoSimulator
        from pes_rl.envs.tasks import TASKS

        return MujocoSimulator(TASKS[resolve(config.env).name], num_particles, threads)
    from pes_rl.envs.gymnasium_engine import GymnasiumSimulator

    return GymnasiumSimulator(resolve(config.env, config.engine).gymnasium_id, num_particles)
