"""What a viewer without MuJoCo needs to draw a recorded episode: shapes, and where they are.

Shapes are described once, in the frame of the body that carries them; bodies that move get one
pose per frame, everything welded to the world none.
"""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import base64
import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.rendering.framing import Motion, first_view
from pes_rl.rendering.geometry import Shapes, around, boxes, places, shapes_of, smooth
from pes_rl.rendering.meshes import field_surface, mesh_surface

if TYPE_CHECKING:
    from pes_rl.rendering.recording import Recording

_FOLLOW_SECONDS = 0.5  # the camera follows the mass centre, averaged over this time


def describe_scene(recording: Recording) -> dict[str, Any]:
    """An episode of F frames as plain JSON values.

    Keys: ``geoms`` (type, size, color, body or -1, pos, quat as w x y z, mesh where it has one),
    ``meshes`` (vertices, normals, faces), ``poses`` (float32 [F, bodies, 7]: position, then
    quaternion w x y z), ``track`` (float32 [F, 3], what the camera follows), ``view``
    (see ``first_view``) and ``notes`` (what is not drawn). Arrays are base64, see ``pack``.
    Sites are among the geoms, as the model's own are; a shape that moves in its body is a body to
    the page. Frames that are not finite repeat the one before.
    """
    import mujoco

    model, shapes = copy.copy(recording.model), shapes_of(recording)
    data = mujoco.MjData(model)
    movers = _movers(shapes)
    poses, motion = _unroll(recording, model, data, shapes, movers)
    meshes: dict[tuple[str, int], int] = {}
    drawn = np.flatnonzero(shapes.visible)
    geoms = [_geom(model, data, shapes, int(shape), movers, meshes) for shape in drawn]
    return {
        "geoms": geoms,
        "meshes": [_pack_mesh(model, *key) for key in meshes],
        "poses": pack(poses),
        "track": pack(motion.track),
        "view": first_view(motion, model.stat.center, float(model.stat.extent)),
        "notes": _notes(model),
    }


def pack(values: np.ndarray, dtype: Any = "<f4") -> str:
    """``values`` as base64 of their little-endian bytes, float32 unless told otherwise."""
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype)).tobytes()).decode()


class _Movers(NamedTuple):
    """What has a pose in every frame, in this order."""

    bodies: list[int]
    shapes: list[int]  # those that move in their bodies


def _movers(shapes: Shapes) -> _Movers:
    seen = shapes.visible & shapes.moves
    bodies = set(shapes.body[seen & ~shapes.loose].tolist())
    return _Movers(sorted(bodies), np.flatnonzero(seen & shapes.loose).tolist())


def _frames(recording: Recording) -> np.ndarray:
    """Which frame is shown at each frame: itself, or the last finite one before it, or -1."""
    parts = (recording.qpos, recording.mocap_pos, recording.mocap_quat)
    finite = [np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in parts]
    frames = np.arange(len(recording.qpos))
    return np.maximum.accumulate(np.where(np.all(finite, axis=0), frames, -1))


def _unroll(
    recording: Recording, model: Any, data: Any, shapes: Shapes, movers: _Movers
) -> tuple[np.ndarray, Motion]:
    """Poses [F, movers, 7], and how shapes move past those that stand still."""
    import mujoco

    tree = _main_tree(model)
    mass = model.body_mass[tree]
    weights = mass / mass.sum() if mass.sum() > 0 else np.full(len(tree), 1 / max(len(tree), 1))
    moving, still = (np.flatnonzero(shapes.solid & m) for m in (shapes.moves, ~shapes.moves))
    bodies, loose = movers.bodies, movers.shapes
    shown = _frames(recording)
    poses = np.empty((len(shown), len(bodies) + len(loose), 7))
    corners = np.empty((len(shown), len(moving), 2, 3))
    centers, roots = np.zeros((2, len(shown), 3))
    for frame, source in enumerate(shown):
        if source >= 0:  # else the model's initial pose, in which data is
            recording.pose(source, model, data)
        mujoco.mj_kinematics(model, data)
        at, turns = places(data)
        poses[frame, :, :3] = np.concatenate([data.xpos[bodies], at[loose]])
        poses[frame, :, 3:] = np.concatenate([data.xquat[bodies], _quaternions(turns[loose])])
        corners[frame] = boxes(shapes, data, moving)
        if len(tree):
            centers[frame], roots[frame] = weights @ data.xipos[tree], data.xpos[tree[0]]
    own = np.isin(shapes.body[moving], tree)
    track = smooth(centers, _FOLLOW_SECONDS / recording.dt)
    surroundings = boxes(shapes, data, still)
    if len(moving):
        low, high = corners[:, :, 0].min((0, 1)), corners[:, :, 1].max((0, 1))
        surroundings = around(surroundings, shapes.site[still], low, high)
    return poses, Motion(corners, surroundings, own, roots, track)


def _quaternions(turns: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] as quaternions w x y z, [N, 4]."""
    import mujoco

    quaternions = np.empty((len(turns), 4))
    for quaternion, turn in zip(quaternions, turns, strict=True):
        mujoco.mju_mat2Quat(quaternion, turn.ravel())
    return quaternions


def _main_tree(model: Any) -> np.ndarray:
    """The bodies of the heaviest thing that can move: the robot rather than what it handles.

    What the environment itself moves, a mocap body, is that only where nothing has joints.
    """
    movable = np.flatnonzero(model.body_treeid >= 0)
    if not len(movable):
        movable = np.flatnonzero(model.body_weldid != 0)
    if not len(movable):
        return movable
    roots = model.body_rootid[movable]
    mass = np.bincount(roots, weights=model.body_mass[movable])
    mass[roots] += 1e-12  # a massless tree is still a tree
    return movable[roots == np.argmax(mass)]


def _color(model: Any, shapes: Shapes, shape: int) -> list[float]:
    import mujoco

    if shapes.type[shape] == mujoco.mjtGeom.mjGEOM_PLANE:
        return _rounded(model.geom_rgba[shape])  # tints a checkerboard in the page's own shades
    rgba, material = shapes.rgba[shape], int(shapes.material[shape])
    if material >= 0:  # textures are not mapped: their mean colour stands for them
        rgba = rgba * np.append(_texture_mean(model, material), 1.0)
    return _rounded(rgba)


def _texture_mean(model: Any, material: int) -> np.ndarray:
    import mujoco

    texture = int(model.mat_texid[material][mujoco.mjtTextureRole.mjTEXROLE_RGB])
    if texture < 0 or model.tex_nchannel[texture] < 3:
        return np.ones(3)
    channels, start = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    size = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
    pixels = np.asarray(model.tex_data[start : start + size]).reshape(-1, channels)
    return pixels[:, :3].mean(axis=0) / 255


def _geom(
    model: Any,
    data: Any,
    shapes: Shapes,
    shape: int,
    movers: _Movers,
    meshes: dict[tuple[str, int], int],
) -> dict[str, Any]:
    import mujoco

    if shapes.loose[shape]:
        mover = len(movers.bodies) + movers.shapes.index(shape)
        position, turn = np.zeros(3), np.eye(3)
    else:  # as MuJoCo placed it, which need not be what the model says: see its sameframe
        body = int(shapes.body[shape]) if shapes.moves[shape] else 0
        mover = movers.bodies.index(body) if body else -1
        (at, turns), back = places(data), data.xmat[body].reshape(3, 3).T
        position, turn = back @ (at[shape] - data.xpos[body]), back @ turns[shape]
    kind = mujoco.mjtGeom(shapes.type[shape]).name.removeprefix("mjGEOM_").lower()
    described: dict[str, Any] = {
        "type": kind,
        "size": _rounded(shapes.size[shape]),
        "color": _color(model, shapes, shape),
        "body": mover,
        "pos": _rounded(position),
        "quat": _rounded(_quaternions(turn[None])[0]),
    }
    if kind in ("mesh", "sdf", "hfield"):
        source = "hfield" if kind == "hfield" else "mesh"
        key = (source, int(model.geom_dataid[shape]))
        described |= {"type": "mesh", "mesh": meshes.setdefault(key, len(meshes))}
    return described


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def _pack_mesh(model: Any, source: str, index: int) -> dict[str, str]:
    make = field_surface if source == "hfield" else mesh_surface
    vertices, normals, faces = make(model, index)
    return {"vertices": pack(vertices), "normals": pack(normals), "faces": pack(faces, "<u4")}


def _notes(model: Any) -> list[str]:
    missing = {"flexible bodies": model.nflex, "skins": model.nskin, "tendons": _tendons(model)}
    names = [name for name, count in missing.items() if count]
    return [f"Not drawn: {', '.join(names)}."] if names else []


def _tendons(model: Any) -> int:
    """How many tendons run through space, where MuJoCo's viewers show them."""
    import mujoco

    joint = mujoco.mjtWrap.mjWRAP_JOINT
    return int((model.wrap_type[model.tendon_adr] != joint).sum())
