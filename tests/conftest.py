"""Fixtures of several test files. Heavy imports are inside them."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

# One device, whichever test is the first to use JAX; tests of several start processes of their own.
_FLAGS = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in _FLAGS:
    os.environ["XLA_FLAGS"] = f"{_FLAGS} --xla_force_host_platform_device_count=1".strip()

_PROGRAMS = pytest.StashKey[str]()


def pytest_configure(config):
    """What one test has compiled the next one finds, in whichever process, until pytest ends."""
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has its parent's environment
        config.stash[_PROGRAMS] = tempfile.mkdtemp(prefix="pes-rl-programs-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[_PROGRAMS]
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_unconfigure(config):
    if folder := config.stash.get(_PROGRAMS, None):
        shutil.rmtree(folder, ignore_errors=True)


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
