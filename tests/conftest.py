"""Fixtures of several test files. Heavy imports are inside them."""

from __future__ import annotations

import dataclasses
import functools
import os

import pytest

# One device, whichever test is the first to use JAX; tests of several start processes of their own.
_FLAGS = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in _FLAGS:
    os.environ["XLA_FLAGS"] = f"{_FLAGS} --xla_force_host_platform_device_count=1".strip()


@pytest.fixture
def no_compilation_cache():
    """JAX compiles everything anew, as tests that count compilations or read analyses need."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture
def dots():
    """Registers ``Dots``, and forgets it again; yields the class."""
    import gymnasium

    from tests.tools.rendering_tools import DOTS, Dots

    gymnasium.register(DOTS, Dots)
    yield Dots
    del gymnasium.registry[DOTS]


@functools.cache
def _programs(config, observation_size):
    from pes_rl.training.processes import ALONE
    from pes_rl.training.programs import make_programs

    return make_programs(config, observation_size, ALONE)


@pytest.fixture(scope="module")
def shared_programs():
    """Host trainers of one configuration, whatever its budget, share what is compiled for them."""

    def programs(config, observation_size, processes):
        assert processes.size == 1
        return _programs(dataclasses.replace(config, num_env_steps=1), observation_size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pes_rl.training.host.make_programs", programs)
        yield
