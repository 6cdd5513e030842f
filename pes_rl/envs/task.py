"""What a MuJoCo task is: pure functions over an array namespace, shared by every engine.

The functions take ``xp`` (``numpy`` or ``jax.numpy``), the MuJoCo ``model`` (``mujoco.MjModel`` or
its MJX twin) and ``data``, any object with the MjData fields ``qpos``, ``qvel`` and those listed in
``Task.fields``. Arrays may carry leading batch dimensions, so they are indexed from the right
(``data.qpos[..., 0]``). Randomness comes in as standard draws, which keeps a reset the same
function for a NumPy generator and for a JAX key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any


@dataclass(frozen=True)
class Task:
    """One Gymnasium MuJoCo v5 task.

    Attributes:
      name: the name users type, ``HalfCheetah``.
      gymnasium_id: the official environment it equals step by step, ``HalfCheetah-v5``.
      model_file: MJCF file in Gymnasium's assets folder.
      frame_skip: physics steps per env step.
      horizon: the task's time limit in env steps (a truncation, not a termination).
      observation_size: length of one observation.
      fields: derived MjData fields read by the functions below, besides qpos and qvel.
      contact_forces: whether ``cfrc_ext`` is read (as mj_rnePostConstraint leaves it after a step,
        zero after a reset).
      num_uniforms: standard uniform draws (in [0, 1)) that one reset consumes.
      num_normals: standard normal draws that one reset consumes.
      reset: ``(xp, model, uniforms [..., U], normals [..., Z]) -> (qpos, qvel)``; ``model`` gives
        the initial pose, ``model.qpos0``.
      observe: ``(xp, model, data) -> [..., observation_size]``.
      track: ``(xp, model, data) -> [..., k]``, what the reward of the next step needs to know of
        the present state (for instance the x position). Taken after a reset and after each step.
      is_healthy: ``(xp, data) -> bool [...]``, what ends an episode by being False; it is what
        ``reward`` says, and cheaper to ask. None where no episode ends by itself.
      reward: ``(xp, model, before, data, action) -> (reward [...], terminated [...])`` where
        ``before`` is the tracked value before the step and ``action`` the clipped control applied.
    """

    name: str
    gymnasium_id: str
    model_file: str
    frame_skip: int
    horizon: int
    observation_size: int
    num_uniforms: int
    num_normals: int
    reset: Callable[[Any, Any, Array, Array], tuple[Array, Array]]
    observe: Callable[[Any, Any, Any], Array]
    track: Callable[[Any, Any, Any], Array]
    reward: Callable[[Any, Any, Array, Any, Array], tuple[Array, Array]]
    is_healthy: Callable[[Any, Any], Array] | None = None
    fields: tuple[str, ...] = ()
    contact_forces: bool = False
