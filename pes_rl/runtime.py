"""Settings of the numerical libraries that results and progress depend on."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
_PATIENCE = (
    "--xla_cpu_collective_call_warn_stuck_timeout_seconds=86400 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=86400"
)


def one_xla_thread() -> None:
    """One XLA thread on the CPU from JAX's first computation on, unless ``XLA_FLAGS`` says more."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_ONE_THREAD}".strip()


def patient_collectives() -> None:
    """Devices of a CPU wait for each other as long as it takes, from JAX's first computation on.

    XLA ends the process where one is 40 s late, as it is when segments take minutes on busy cores.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_collective_call" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_PATIENCE}".strip()


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """No search for cyclic garbage while inside; decorates functions too.

    Importing a simulator and tracing a program make millions of objects that stay, over which
    Python's collector would go again and again: up to 2 s of a start on Warp from the caches, of 7.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


@contextlib.contextmanager
def single_threaded_math() -> Iterator[None]:
    """One BLAS thread while inside, and one XLA thread from JAX's first computation on.

    More of them would compete with the physics threads and change the order of summation, and a
    threaded XLA program can wait for itself for ever on a machine of few cores. The population's
    parallelism is in the physics.
    """
    from threadpoolctl import threadpool_limits

    one_xla_thread()
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextlib.contextmanager
def training_math() -> Iterator[None]:
    """`single_threaded_math` for JAX's solvers too, whose BLAS is SciPy's, and JAX's usual rules.

    A user may have had JAX refuse to promote dtypes and ranks, which all of it relies on.
    """
    import jax

    # Only libraries that are loaded can be limited, and JAX loads this one when it first solves.
    importlib.import_module("scipy.linalg")
    dtypes, ranks = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with single_threaded_math(), dtypes, ranks:
        yield
