"""Where the camera stands: a camera of the model, or one that frames the whole body."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl.errors import UserError, suggest
from pes_rl.rendering.geometry import around, boxes, shapes_of, smooth

if TYPE_CHECKING:
    from pes_rl.rendering.recording import Recording

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


def plan_shot(recording: Recording, aspect: float, camera: str | None = None) -> Shot:
    """Frame an episode of F frames in pictures of ``aspect`` (width / height).

    A body that travels is followed, smoothly and at a constant height. Otherwise the camera stands
    still and shows all the room the body uses, with what is built around it.
    Raises UserError when the model has no ``camera`` of that name.
    """
    model, count = recording.model, len(recording.qpos)
    index = find_camera(model, camera)
    steps = np.unique(np.linspace(0, count - 1, min(count, _SAMPLES)).round().astype(int))
    low, high, room = _rooms(recording, steps)
    if _travels(low, high, room):
        path = smooth((low + high) / 2, _SMOOTH_SECONDS / (recording.dt * count / len(steps)))
        bottom, top = np.percentile(low[:, 2], 5), np.percentile(high[:, 2], 95)
        path[:, 2] = (bottom + top) / 2
        frames = np.arange(count)
        lookat = np.stack([np.interp(frames, steps, path[:, i]) for i in range(3)], axis=1)
        size = np.array([*np.percentile(high - low, 90, axis=0)[:2], top - bottom])
        margin = 1.45
    else:
        first, last = low.min(0), high.max(0)
        if room is not None:
            first, last = np.minimum(first, room[0]), np.maximum(last, room[1])
        lookat = np.tile((first + last) / 2, (count, 1))
        size, margin = last - first, 1.2
    elevation, distance = _stand(size, aspect, model.vis.global_.fovy)
    return Shot(lookat, margin * distance, -elevation, index)


def _travels(low: np.ndarray, high: np.ndarray, room: np.ndarray | None) -> bool:
    """Whether the box from ``low`` to ``high`` [F, 3] goes far, and out of the room around it."""
    path = (low + high)[:, :2] / 2
    if room is not None and np.all((path >= room[0, :2]) & (path <= room[1, :2])):
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


def _rooms(
    recording: Recording, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Lowest and highest corner [F, 3] of what moves, at ``steps``; those [2, 3] of what does not.

    Where nothing moves, what stands still is given in its place.
    """
    import mujoco

    model = copy.copy(recording.model)
    data, shapes = mujoco.MjData(model), shapes_of(recording)
    moving, still = (np.flatnonzero(shapes.solid & m) for m in (shapes.moves, ~shapes.moves))
    if not len(moving):
        moving, still = still, moving
    corners = np.zeros((len(steps), 2, 3))
    for corner, frame in zip(corners, steps, strict=True):
        recording.pose(frame, model, data)
        mujoco.mj_kinematics(model, data)
        if len(moving):
            corner[:] = _hull(boxes(shapes, data, moving))
    low, high = corners[:, 0], corners[:, 1]
    shown = around(boxes(shapes, data, still), shapes.site[still], low.min(0), high.max(0))
    return low, high, _hull(shown) if len(shown) else None


def _hull(corners: np.ndarray) -> np.ndarray:
    """Lowest and highest corner [2, 3] of all of ``corners`` [G, 2, 3]."""
    return np.stack([corners[:, 0].min(0), corners[:, 1].max(0)])
