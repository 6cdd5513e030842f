"""Geometry that pages and pictures share: what there is to see, boxes around it, smoothed paths."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pes_rl.rendering.recording import Recording

_VISIBLE_GROUPS = (0, 1, 2)  # MuJoCo's viewers hide groups 3 to 5 (collision shapes) by default
_KINDS = ("geom", "site")
_UNSET_RGBA = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's default, which a material overrides
_FAR = 10.0  # a site so many times as far as the motion is large was put out of sight


@dataclass(frozen=True)
class Shapes:
    """What is to be seen of a model: all its geoms, then all its sites, N together.

    Attributes:
      type: ``mujoco.mjtGeom``, int [N].
      size: [N, 3].
      rgba: colour and opacity, without the material's texture, [N, 4].
      material: whose texture it wears, or -1, int [N].
      body: what carries it, int [N].
      box: middle and half size of the box around it, along its own axes, [N, 6].
      visible: whether MuJoCo's viewers show it by default, bool [N].
      solid: whether it is visible and of finite size, bool [N].
      moves: whether its body does, or it in its body, during the episode, bool [N].
      loose: whether it moves in its body, bool [N].
      site: bool [N].
    """

    type: np.ndarray
    size: np.ndarray
    rgba: np.ndarray
    material: np.ndarray
    body: np.ndarray
    box: np.ndarray
    visible: np.ndarray
    solid: np.ndarray
    moves: np.ndarray
    loose: np.ndarray
    site: np.ndarray


def shapes_of(recording: Recording) -> Shapes:
    """The shapes of the recorded model."""
    import mujoco

    model = recording.model

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(model, f"{kind}_{name}") for kind in _KINDS])

    rgba, material = both("rgba"), both("matid")
    material[(rgba != np.array(_UNSET_RGBA)).any(axis=1)] = -1
    rgba[material >= 0] = model.mat_rgba[material[material >= 0]]
    visible = np.isin(both("group"), _VISIBLE_GROUPS) & (rgba[:, 3] > 0)
    loose = np.concatenate(
        [_moved(recording, kind, len(getattr(model, f"{kind}_pos"))) for kind in _KINDS]
    )
    return Shapes(
        type=both("type"),
        size=both("size"),
        rgba=rgba,
        material=material,
        body=both("bodyid"),
        box=np.concatenate([model.geom_aabb, _site_boxes(model)]),
        visible=visible,
        solid=visible & (both("type") != mujoco.mjtGeom.mjGEOM_PLANE),
        moves=_moving_bodies(recording)[both("bodyid")] | loose,
        loose=loose,
        site=np.arange(model.ngeom + model.nsite) >= model.ngeom,
    )


def _moved(recording: Recording, kind: str, count: int) -> np.ndarray:
    """Which of the ``count`` bodies, geoms or sites the environment moved in the model, [count]."""
    moved = np.zeros(count, bool)
    for part in ("pos", "quat"):
        if (places := recording.moved.get(f"{kind}_{part}")) is not None:
            moved |= (places != places[0]).any(axis=(0, 2))
    return moved


def _moving_bodies(recording: Recording) -> np.ndarray:
    model = recording.model
    moves = (model.body_weldid != 0) | _moved(recording, "body", model.nbody)
    for body in range(1, model.nbody):  # parents come first
        moves[body] |= moves[model.body_parentid[body]]
    return moves


def _site_boxes(model: Any) -> np.ndarray:
    """Middle and half size [nsite, 6] of the box around each site."""
    import mujoco

    kinds, (radius, half, _) = mujoco.mjtGeom, model.site_size.T
    sizes = {
        kinds.mjGEOM_SPHERE: (radius, radius, radius),
        kinds.mjGEOM_CAPSULE: (radius, radius, radius + half),
        kinds.mjGEOM_CYLINDER: (radius, radius, half),
    }
    boxes = np.concatenate([np.zeros((model.nsite, 3)), model.site_size], axis=1)
    for kind, size in sizes.items():
        chosen = model.site_type == kind
        boxes[chosen, 3:] = np.stack(size, axis=1)[chosen]
    return boxes


def places(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where all shapes are in the world, [N, 3], and how they are turned, [N, 3, 3]."""
    turns = np.concatenate([data.geom_xmat, data.site_xmat]).reshape(-1, 3, 3)
    return np.concatenate([data.geom_xpos, data.site_xpos]), turns


def boxes(shapes: Shapes, data: Any, chosen: np.ndarray) -> np.ndarray:
    """Lowest and highest corners [G, 2, 3] of the boxes around shapes ``chosen`` [G]."""
    at, turns = (part[chosen] for part in places(data))
    middle, half = shapes.box[chosen, :3], shapes.box[chosen, 3:]
    center = at + np.einsum("gij,gj->gi", turns, middle)
    extent = np.einsum("gij,gj->gi", np.abs(turns), half)
    return np.stack([center - extent, center + extent], axis=1)


def around(corners: np.ndarray, site: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Those of ``corners`` [G, 2, 3] that belong to what moves between ``low`` and ``high`` [3].

    A ``site`` [G] that is very far from there does not: environments hide their goals so.
    """
    reach = _FAR * np.linalg.norm(high - low)
    outside = np.maximum(low - corners[:, 0], corners[:, 1] - high).max(axis=1)
    return corners[~site | (outside <= reach)]


def smooth(path: np.ndarray, width: float) -> np.ndarray:
    """Centred moving average of ``path`` [F, 3] over about ``width`` frames, its ends repeated."""
    half = min(len(path), round(width / 2))
    size = 2 * half + 1
    padded = np.pad(path, ((half, half), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
    return (sums[size:] - sums[:-size]) / size
