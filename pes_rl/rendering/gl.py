"""Open OpenGL, or say in one line what is missing.

``MUJOCO_GL`` is honoured here rather than by MuJoCo, which reads it once, when it is imported:
a process that already uses MuJoCo can then still render without a display.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Protocol

from pes_rl.errors import UserError

_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"
_OFF = ("disable", "disabled", "off", "false", "0")
_DEFAULT = ("", "enable", "enabled", "on", "true", "1")
_LONGEST_REASON = 160
_ALIASES = {"glx": "glfw", "wgl": "glfw"}
_SYSTEM_LIBRARIES = {"linux": ("egl", "osmesa", "glfw"), "darwin": ("cgl", "glfw")}


class Context(Protocol):
    """An OpenGL context of MuJoCo's for any of its libraries."""

    def make_current(self) -> None:
        """Draw into this context from now on."""

    def free(self) -> None:
        """Give it back."""


def open_context(width: int, height: int) -> Context:
    """A current OpenGL context for offscreen drawing; call its ``free`` when done.

    Without ``MUJOCO_GL``, Linux draws through EGL, which needs no display and uses a GPU if there
    is one. Raises UserError naming the packages to install.
    """
    reasons = []
    for library in _libraries():
        context: Context | None = None
        try:
            with warnings.catch_warnings():  # GLFW says what is missing twice
                warnings.simplefilter("ignore")
                context = _make_context(library, width, height)
                context.make_current()
            return context
        except Exception as error:  # the libraries raise whatever they meet first
            if context is not None:
                context.free()
            reasons.append(f"{library}: {_reason(error)}")
    raise missing("; ".join(reasons))


def _make_context(library: str, width: int, height: int) -> Context:
    return importlib.import_module(f"mujoco.{library}").GLContext(width, height)


def missing(reason: str) -> UserError:
    """The UserError of a machine that cannot draw, with what to install."""
    return UserError(
        f"cannot draw without OpenGL ({reason}); install it with "
        f"`apt-get install {_PACKAGES}`, or write a page, which needs none: --out FILE.html"
    )


def has_display() -> bool:
    """Whether a window could be opened."""
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _libraries() -> list[str]:
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    known = _SYSTEM_LIBRARIES.get(sys.platform, ("glfw",))
    if asked in _DEFAULT:
        fallback = ["glfw"] if has_display() and known[0] != "glfw" else []
        return [known[0], *fallback]
    if asked in _OFF:
        raise missing(f"MUJOCO_GL={asked} turns it off")
    library = _ALIASES.get(asked, asked)
    if library not in known:
        raise missing(f"MUJOCO_GL={asked} is none of {', '.join(known)}")
    return [library]


def _reason(error: Exception) -> str:
    if isinstance(error, AttributeError):  # PyOpenGL asks None for its first function
        return "its library does not load"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_REASON]
