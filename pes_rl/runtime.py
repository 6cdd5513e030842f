"""Settings of the numerical libraries that results and progress depend on."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator


def one_xla_thread() -> None:
    """One XLA thread on the CPU from JAX's first computation on, unless ``XLA_FLAGS`` says more."""
    _set_flag("xla_cpu_multi_thread_eigen", "false")


def plain_rounding() -> None:
    """Have XLA round every product on the CPU, unless ``XLA_FLAGS`` names an instruction set.

    Fused multiply-adds round a product and a sum once. XLA forms them here and not there, by what
    else is in the program, so with them a run would depend on how many devices it is spread over.
    AVX is the last of Intel's instruction sets without them; other makes of CPU always have them.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        _set_flag("xla_cpu_max_isa", "AVX")


def _set_flag(name: str, value: str) -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if name not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{name}={value}".strip()


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
