"""Compiled programs are kept on disk, so that the next run of the same shape starts at once."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax


def cache_folder() -> Path:
    """The user's cache folder for compiled programs, where the operating system has such things."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pes-rl" / "programs"


def use_compilation_cache() -> None:
    """Switch JAX's persistent cache on, unless its user chose a folder or switched it off.

    ``JAX_COMPILATION_CACHE_DIR=DIR`` and ``JAX_ENABLE_COMPILATION_CACHE=false`` do so.
    """
    config: Any = jax.config  # its options are not among its declared attributes
    if config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(cache_folder()))


def plain_rounding(device: Any) -> dict[str, str]:
    """Compiler options by which programs for ``device`` round every product, where they can.

    Fused multiply-adds round a product and a sum once. XLA forms them here and not there, by what
    else is in a program, so with them a run would depend on how many devices it is spread over.
    AVX is the last of Intel's instruction sets without them; other makes of CPU, and GPUs, always
    have them. An instruction set named in ``XLA_FLAGS`` is left alone.
    """
    intel = platform.machine().lower() in ("x86_64", "amd64")
    if device.platform != "cpu" or not intel:
        return {}
    return (
        {} if "xla_cpu_max_isa" in os.environ.get("XLA_FLAGS", "") else {"xla_cpu_max_isa": "AVX"}
    )
