"""Fixtures of several test files. Heavy imports are inside them."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import tempfile

import pytest

# One device, whichever test is the first to use JAX; tests of several start processes of their own.
# Compiling takes most of these tests' time, so it is made cheap; see also `pytest_configure`.
_FLAGS = os.environ.get("XLA_FLAGS", "")
for _flag in ("--xla_force_host_platform_device_count=1", "--xla_cpu_use_fusion_emitters=false"):
    if _flag.partition("=")[0] not in _FLAGS:
        _FLAGS = f"{_FLAGS} {_flag}".strip()
os.environ["XLA_FLAGS"] = _FLAGS

_PROGRAMS = pytest.StashKey[str]()


def pytest_configure(config):
    """JAX optimises little, and what one test has compiled the next one finds, until pytest ends.

    Tests whose programs run for long, or are of what users run, ask for ``as_users_compile``;
    ``JAX_DISABLE_MOST_OPTIMIZATIONS=0`` makes all of them do so.
    """
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has its parent's environment
        config.stash[_PROGRAMS] = tempfile.mkdtemp(prefix="pes-rl-programs-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[_PROGRAMS]
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if config.option.markexpr == "not slow":  # slow checks are of what users run
            os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def pytest_unconfigure(config):
    if folder := config.stash.get(_PROGRAMS, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def as_users_compile():
    """JAX optimises as it does for users, in the tests of one file."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def no_compilation_cache():
    """JAX compiles everything anew, as tests that count compilations or read analyses need."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    # JAX looks at the option at its first compilation only, or at the first after a reset.
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


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
