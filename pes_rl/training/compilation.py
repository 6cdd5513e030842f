"""Compiled programs are kept on disk, so that the next run of the same shape starts at once."""

from __future__ import annotations

import os
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
