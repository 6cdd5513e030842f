"""Where the camera stands: a camera of the model, or one that frames the whole body."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pes_rl.errors import UserError, suggest
from pes_rl.rendering.geometry import VISIBLE_GROUPS, boxes, smooth

_AZIMUTH = 90.0  # looking along +y, so that a walker moves to the right
_LEAST_ELEVATION, _MORE_ELEVATION = 14.0, 45.0  # degrees above the horizon
_SMOOTH_SECONDS = 1.0
_SAMPLES = 250  # frames looked at to find how much room the body needs
_TRAVEL = 1.5  # a body that goes further than so many times its size is followed


@dataclass(frozen=True)
class Shot:
    """What the camera does during an episode of F frames.

    Attributes:
      lookat: the point looked at, [F, 3]; the key light stands above it too.
      distance: from ``lookat`` to the camera, metres.
      elevation: degrees below which the camera looks down, negative.
      camera: index of the model's own camera used instead, or -1.
    """

    lookat: np.ndarray
    distance: float
    elevation: float
    camera: int = -1

    def at(self, frame: int) -> Any:
        """The ``mujoco.MjvCamera`` of one frame."""
        import mujoco

        view = mujoco.MjvCamera()
        if self.camera >= 0:
            view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self.camera
            return view
        view.lookat[:], view.distance = self.lookat[frame], self.distance
        view.azimuth, view.elevation = _AZIMUTH, self.elevation
        return view


def find_camera(model: Any, name: str | None) -> int:
    """Index of the model's camera called ``name``; -1 for None; UserError with the names there."""
    if name is None:
        return -1
    names = [model.camera(i).name for i in range(model.ncam)]
    if name in names:
        return names.index(name)
    known = [known for known in names if known]
    if not known:
        raise UserError(f"unknown camera {name!r}: the model has none; leave --camera out")
    hint = suggest(name, known) or f"; choose from {', '.join(known)}"
    raise UserError(f"unknown camera {name!r}{hint}, or leave --camera out")


def plan_shot(
    model: Any, qpos: np.ndarray, dt: float, aspect: float, camera: str | None = None
) -> Shot:
    """Frame the episode ``qpos`` [F, nq] in pictures of ``aspect`` (width / height).

    A body that travels is followed, smoothly and at a constant height. Otherwise the camera stands
    still and shows all the room the body uses, with what is built around it.
    Raises UserError when the model has no ``camera`` of that name.
    """
    index = find_camera(model, camera)
    moving, still = _parts(model)
    steps = np.unique(np.linspace(0, len(qpos) - 1, min(len(qpos), _SAMPLES)).round().astype(int))
    low, high = _room(model, qpos[steps], moving)
    around = _room(model, qpos[:1], still) if len(still) else None
    if _travels(low, high, around):
        path = smooth((low + high) / 2, _SMOOTH_SECONDS / (dt * max(1, len(qpos) / len(steps))))
        bottom, top = np.percentile(low[:, 2], 5), np.percentile(high[:, 2], 95)
        path[:, 2] = (bottom + top) / 2
        frames = np.arange(len(qpos))
        lookat = np.stack([np.interp(frames, steps, path[:, i]) for i in range(3)], axis=1)
        size = np.array([*np.percentile(high - low, 90, axis=0)[:2], top - bottom])
        margin = 1.45
    else:
        first, last = low.min(0), high.max(0)
        if around is not None:
            first, last = np.minimum(first, around[0][0]), np.maximum(last, around[1][0])
        lookat = np.tile((first + last) / 2, (len(qpos), 1))
        size, margin = last - first, 1.2
    elevation, distance = _stand(size, aspect, model.vis.global_.fovy)
    return Shot(lookat, margin * distance, -elevation, index)


def _travels(
    low: np.ndarray, high: np.ndarray, around: tuple[np.ndarray, np.ndarray] | None
) -> bool:
    """Whether the box from ``low`` to ``high`` [F, 3] goes far, and out of what is around it."""
    path = (low + high)[:, :2] / 2
    if around is not None and np.all((path >= around[0][0, :2]) & (path <= around[1][0, :2])):
        return False
    return bool(np.ptp(path, axis=0).max() > _TRAVEL * np.median(high - low, axis=0).max())


def _stand(size: np.ndarray, aspect: float, fovy: float) -> tuple[float, float]:
    """Elevation and distance that show a box of ``size`` [3]; flat ones are seen from above."""
    width, depth, height = np.maximum(size, 1e-3)
    flatness = np.clip(1 - 0.7 * height / depth, 0, 1)
    elevation = _LEAST_ELEVATION + _MORE_ELEVATION * flatness**2
    sin, cos = np.sin(np.radians(elevation)), np.cos(np.radians(elevation))
    seen = max(width / aspect, height * cos + depth * sin)
    nearer = (depth * cos + height * sin) / 2
    return elevation, seen / 2 / np.tan(np.radians(fovy) / 2) + nearer


def _parts(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Geoms that are drawn, planes aside: those that move, and those that do not."""
    import mujoco

    fixed = model.body_weldid[model.geom_bodyid] == 0
    shown = (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE) & np.isin(
        model.geom_group, VISIBLE_GROUPS
    )
    moving, still = np.flatnonzero(~fixed & shown), np.flatnonzero(fixed & shown)
    return (moving, still) if len(moving) else (still, moving)


def _room(model: Any, qpos: np.ndarray, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner [F, 3] of the box around ``geoms`` in each pose."""
    import mujoco

    data = mujoco.MjData(model)
    low, high = np.zeros((len(qpos), 3)), np.zeros((len(qpos), 3))
    for frame, pose in enumerate(qpos if len(geoms) else ()):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        corners = boxes(model, data, geoms)
        low[frame], high[frame] = corners[:, 0].min(0), corners[:, 1].max(0)
    return low, high
