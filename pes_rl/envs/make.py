"""From an environment's name to what steps it, on the host or inside a JAX program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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


def make_simulator(
    name: str, engine: str, num_particles: int, num_threads: int | None = None
) -> Simulator:
    """``num_particles`` copies of the environment ``name`` on an engine of the host.

    ``num_threads`` is one per core if not given; engines without threads ignore it.
    """
    environment = resolve(name, engine)
    if engine == "mujoco":
        from pes_rl.envs.mujoco_engine import MujocoSimulator
        from pes_rl.envs.tasks import TASKS

        threads = min(num_threads or available_threads(), num_particles)
        return MujocoSimulator(TASKS[environment.name], num_particles, threads)
    if engine != "gymnasium" or environment.gymnasium_id is None:
        raise UserError(f"engine {engine!r} steps particles on the device, not on the host")
    from pes_rl.envs.gymnasium_engine import GymnasiumSimulator

    return GymnasiumSimulator(environment.gymnasium_id, num_particles)


def make_jax_environment(name: str, engine: str, backend: str | None = None) -> JaxEnvironment:
    """The environment ``name`` inside a JAX program; UserError where ``backend`` cannot step it."""
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
