"""Keep the physics packages' remarks off the screen, where users can do nothing about them."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from pes_rl.rendering.gl import import_mujoco

_WARP_MISSING = "Failed to import "


def silence_mujoco() -> None:
    """Drop MuJoCo's warnings for the rest of the process.

    They say that a model file of Gymnasium's is old, which users cannot act on, or that a
    simulation is unstable, which the engine detects, counts and reports itself. MuJoCo would print
    them in the middle of a progress bar and append them to MUJOCO_LOG.TXT.
    """
    import_mujoco().set_mju_user_warning(_ignore)


def _ignore(message: str) -> None:
    del message


def import_quietly(name: str) -> ModuleType:
    """Import MJX or Brax without what they and warp, which is optional, print about warp."""
    import_mujoco()
    if find_spec("warp") is not None:
        config: Any = importlib.import_module("warp").config
        config.log_level = logging.ERROR
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            return importlib.import_module(name)
    finally:
        lines = printed.getvalue().splitlines(keepends=True)
        sys.stdout.writelines(line for line in lines if not line.startswith(_WARP_MISSING))


@contextlib.contextmanager
def old_brax() -> Iterator[None]:
    """Without the warnings that Brax is not maintained and uses names that MJX has moved."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Brax System, piplines", UserWarning)
        warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
        warnings.filterwarnings("ignore", "Accessing `.*` directly from", DeprecationWarning)
        yield
