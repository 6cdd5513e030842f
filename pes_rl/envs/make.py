"""From a configuration to its environment, on the host or as a JAX program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pes_rl.config import Config
from pes_rl.envs.registry import check_backend, default_backend, resolve
from pes_rl.envs.simulator import Simulator
from pes_rl.errors import UserError
from pes_rl.runtime import one_xla_thread

if TYPE_CHECKING:
    from pes_rl.envs.jax_environment import JaxEnvironment


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
    official = resolve(config.env, config.engine).gymnasium_id
    if config.engine != "gymnasium" or official is None:
        raise UserError(f"engine {config.engine!r} steps particles on the device, not on the host")
    from pes_rl.envs.gymnasium_engine import GymnasiumSimulator

    return GymnasiumSimulator(official, num_particles)


def make_jax_environment(config: Config) -> JaxEnvironment:
    """The configured environment on an engine that runs inside a JAX program."""
    return jax_environment(config.env, config.engine, config.backend)


def jax_environment(name: str, engine: str, backend: str | None) -> JaxEnvironment:
    """The environment ``name`` on ``brax`` or ``mjx``; UserError where ``backend`` cannot."""
    environment = resolve(name, engine)
    backend = backend or default_backend(environment, engine)
    check_backend(environment, engine, backend)
    assert backend is not None
    one_xla_thread()
    if engine == "brax":
        from pes_rl.envs.brax_engine import brax_environment

        return brax_environment(environment.name, backend)
    from pes_rl.envs.mjx_engine import mjx_environment
    from pes_rl.envs.tasks import TASKS

    return mjx_environment(TASKS[environment.name], backend)
