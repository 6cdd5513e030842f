"""Import the physics packages: without their remarks, and also where OpenGL is broken."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from pes_rl.errors import UserError

_WARP_MISSING = "Failed to import "


def import_mujoco() -> Any:
    """The ``mujoco`` module, also where ``MUJOCO_GL`` asks for an OpenGL that does not load."""
    try:
        return importlib.import_module("mujoco")
    except (RuntimeError, AttributeError, OSError):
        asked = os.environ.get("MUJOCO_GL")
        if asked is None:
            raise
    for name in [name for name in sys.modules if name.split(".")[0] in ("mujoco", "OpenGL")]:
        del sys.modules[name]
    os.environ["MUJOCO_GL"] = "disable"
    try:
        return importlib.import_module("mujoco")
    finally:
        os.environ["MUJOCO_GL"] = asked


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


@contextlib.contextmanager
def old_gymnax() -> Iterator[None]:
    """Without the warnings that Gymnax mixes kinds of numbers in ways that JAX does not like."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64", UserWarning)
        warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
        yield


@contextlib.contextmanager
def making(name: str) -> Iterator[None]:
    """Whatever an environment of another package raises while it is made, as a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise UserError(f"cannot make {name}: {reason}") from error


def import_extra(module: str, extra: str) -> Any:
    """An optional package, without remarks; UserError where it is missing or does not load."""
    if find_spec(module) is None:
        raise UserError(f"{module} is not installed; pip install 'pes-rl[{extra}]'")
    try:
        with old_brax():
            return import_quietly(module)
    except ImportError as error:
        raise UserError(f"cannot import {module}: {error}") from error
