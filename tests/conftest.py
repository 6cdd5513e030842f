"""Fixtures of several test files. Heavy imports are inside them."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import tempfile
from importlib.metadata import version

import pytest

# Compiling takes most of these tests' time, so they do with few optimisations, which do not change
# what a program is asked to compute. Level 1 is for files that ask for ``optimized``.
_CHEAP = "--xla_backend_optimization_level=1"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # which ends at a flag that is gone
    _CHEAP += " --xla_cpu_use_fusion_emitters=false"
_PROGRAMS = pytest.StashKey[str]()


def pytest_configure(config):
    """Settings of JAX, for workers of pytest-xdist and processes that tests start too.

    What one test has compiled the next one finds, in whichever process, until pytest ends. Slow
    tests (``-m slow``), and all of them with ``-m ""``, are compiled as users compile.
    """
    if hasattr(config, "workerinput"):
        return
    config.stash[_PROGRAMS] = tempfile.mkdtemp(prefix="pes-rl-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[_PROGRAMS]
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # One device, whichever test is the first to use JAX; those of several start processes.
    flags = ["--xla_force_host_platform_device_count=1"]
    if "not slow" in config.option.markexpr:
        flags.append(_CHEAP)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip()


def pytest_unconfigure(config):
    if folder := config.stash.get(_PROGRAMS, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def optimized():
    """JAX optimises more, in the tests of a file whose programs run for long."""
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
