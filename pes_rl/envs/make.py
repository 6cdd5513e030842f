"""From an environment to what steps it, on the host or inside a JAX program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pes_rl.envs.registry import Environment, check_backend, default_backend
from pes_rl.envs.simulator import Simulator
from pes_rl.envs.tasks import make_task
from pes_rl.errors import UserError
from pes_rl.runtime import one_xla_thread

if TYPE_CHECKING:
    from pes_rl.envs.jax_environment import JaxEnvironment
    from pes_rl.envs.task import Task


def available_threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_simulator(
    environment: Environment, engine: str, num_particles: int, num_threads: int | None = None
) -> Simulator:
    """``num_particles`` copies of the environment on an engine of the host.

    ``num_threads`` is one per core if not given; engines without threads ignore it.
    """
    if engine == "mujoco":
        from pes_rl.envs.mujoco_engine import MujocoSimulator

        threads = min(num_threads or available_threads(), num_particles)
        return MujocoSimulator(_task(environment), num_particles, threads)
    if engine != "gymnasium" or environment.gymnasium_id is None:
        raise UserError(f"engine {engine!r} steps particles on the device, not on the host")
    from pes_rl.envs.gymnasium_engine import GymnasiumSimulator

    kwargs, wrappers = environment.kwargs, environment.wrappers
    return GymnasiumSimulator(environment.gymnasium_id, num_particles, kwargs, wrappers)


def make_jax_environment(
    environment: Environment, engine: str, backend: str | None = None
) -> JaxEnvironment:
    """The environment inside a JAX program; UserError where ``backend`` cannot step it."""
    one_xla_thread()
    if engine == "jax":
        from pes_rl.envs.foreign import foreign_jax_environment

        return foreign_jax_environment(environment.name, environment.kwargs)
    backend = backend or default_backend(environment, engine)
    check_backend(environment, engine, backend)
    assert backend is not None
    if engine == "brax":
        from pes_rl.envs.brax_engine import brax_environment

        return brax_environment(environment.name, backend)
    from pes_rl.envs.mjx_engine import mjx_environment

    return mjx_environment(_task(environment), backend)


def _task(environment: Environment) -> Task:
    kwargs = {k: v for k, v in environment.kwargs.items() if k != "max_episode_steps"}
    return make_task(environment.name, kwargs)
