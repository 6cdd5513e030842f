"""Keep MuJoCo's warnings off the screen and out of a log file in the working directory."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations


def silence_mujoco() -> None:
    """Drop MuJoCo's warnings for the rest of the process.

    They say that a model file of Gymnasium's is old, which users cannot act on, or that a
    simulation is unstable, which the engine detects, counts and reports itself. MuJoCo would print
    them in the middle of a progress bar and append them to MUJOCO_LOG.TXT.
    """
    import mujoco

    mujoco.set_mju_user_warning(_ignore)


def _ignore(message: str) -> None:
    del message
