"""Keep MuJoCo's warnings off the screen and out of a log file in the working directory."""

from __future__ import annotations

from pes_rl.rendering.gl import import_mujoco


def silence_mujoco() -> None:
    """Drop MuJoCo's warnings for the rest of the process.

    They say that a model file of Gymnasium's is old, which users cannot act on, or that a
    simulation is unstable, which the engine detects, counts and reports itself. MuJoCo would print
    them in the middle of a progress bar and append them to MUJOCO_LOG.TXT.
    """
    import_mujoco().set_mju_user_warning(_ignore)


def _ignore(message: str) -> None:
    del message
