"""What a viewer without MuJoCo needs to draw a recorded episode: shapes, and where they are.

Shapes are described once, in the frame of the body that carries them; bodies that move get one
pose per frame, everything welded to the world none.
"""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from pes_rl.rendering.framing import Motion, first_view
from pes_rl.rendering.geometry import VISIBLE_GROUPS, boxes, smooth

_FIELD_POINTS = 128  # height fields are thinned to at most this many points a side
_FOLLOW_SECONDS = 0.5  # the camera follows the mass centre, averaged over this time
_UNSET_RGBA = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's default, which a material overrides


def describe_scene(model: Any, qpos: np.ndarray, dt: float) -> dict[str, Any]:
    """The episode ``qpos`` [F, nq] of a ``mujoco.MjModel`` as plain JSON values.

    Keys: ``geoms`` (type, size, color, body or -1, pos, quat as w x y z, mesh where it has one),
    ``meshes`` (vertices, normals, faces), ``poses`` (float32 [F, bodies, 7]: position, then
    quaternion w x y z), ``track`` (float32 [F, 3], what the camera follows), ``view``
    (see ``first_view``) and ``notes`` (what is not drawn). Arrays are base64, see ``pack``.
    Frames that are not finite repeat the one before.
    """
    import mujoco

    frames = _forward_fill(np.asarray(qpos, np.float64), model.qpos0)
    data = mujoco.MjData(model)
    drawn = np.array([g for g in range(model.ngeom) if _is_drawn(model, g)], int)
    moves = model.body_weldid[model.geom_bodyid[drawn]] != 0
    bodies = sorted({int(body) for body in model.geom_bodyid[drawn[moves]]})
    poses, motion = _unroll(model, data, frames, bodies, drawn[moves], drawn[~moves], dt)
    meshes: dict[tuple[str, int], int] = {}
    geoms = [_geom(model, data, int(g), bodies, meshes) for g in drawn]
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


def _forward_fill(frames: np.ndarray, first: np.ndarray) -> np.ndarray:
    finite = np.isfinite(frames).all(axis=1)
    if finite.all():
        return frames
    last = np.maximum.accumulate(np.where(finite, np.arange(len(frames)), -1))
    return np.where((last >= 0)[:, None], frames[last], first)


def _unroll(
    model: Any,
    data: Any,
    frames: np.ndarray,
    bodies: Sequence[int],
    moving: np.ndarray,
    still: np.ndarray,
    dt: float,
) -> tuple[np.ndarray, Motion]:
    """Poses [F, bodies, 7], and how geoms ``moving`` move past geoms ``still``."""
    import mujoco

    tree = _main_tree(model)
    mass = model.body_mass[tree]
    weights = mass / mass.sum() if mass.sum() > 0 else np.full(len(tree), 1 / max(len(tree), 1))
    moving, still = (g[model.geom_type[g] != mujoco.mjtGeom.mjGEOM_PLANE] for g in (moving, still))
    poses = np.empty((len(frames), len(bodies), 7))
    corners = np.empty((len(frames), len(moving), 2, 3))
    centers, roots = np.zeros((2, len(frames), 3))
    for frame, position in enumerate(frames):
        data.qpos[:] = position
        mujoco.mj_kinematics(model, data)
        poses[frame, :, :3], poses[frame, :, 3:] = data.xpos[bodies], data.xquat[bodies]
        corners[frame] = boxes(model, data, moving)
        if len(tree):
            centers[frame], roots[frame] = weights @ data.xipos[tree], data.xpos[tree[0]]
    own = np.isin(model.geom_bodyid[moving], tree)
    track = smooth(centers, _FOLLOW_SECONDS / dt)
    return poses, Motion(corners, boxes(model, data, still), own, roots, track)


def _is_drawn(model: Any, geom: int) -> bool:
    return int(model.geom_group[geom]) in VISIBLE_GROUPS and _color(model, geom)[3] > 0


def _main_tree(model: Any) -> np.ndarray:
    """The bodies of the heaviest thing that can move: the robot rather than what it handles."""
    movable = np.flatnonzero(model.body_weldid != 0)
    if not len(movable):
        return movable
    roots = model.body_rootid[movable]
    mass = np.bincount(roots, weights=model.body_mass[movable])
    mass[roots] += 1e-12  # a massless tree is still a tree
    return movable[roots == np.argmax(mass)]


def _color(model: Any, geom: int) -> list[float]:
    rgba, material = model.geom_rgba[geom], int(model.geom_matid[geom])
    if material >= 0 and tuple(rgba) == _UNSET_RGBA:
        # Textures are not mapped: their mean colour stands for them.
        rgba = model.mat_rgba[material] * np.append(_texture_mean(model, material), 1.0)
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
    model: Any, data: Any, geom: int, bodies: Sequence[int], meshes: dict[tuple[str, int], int]
) -> dict[str, Any]:
    import mujoco

    body = int(model.geom_bodyid[geom])
    position, quaternion = model.geom_pos[geom], model.geom_quat[geom]
    if body not in bodies:
        position, quaternion = data.geom_xpos[geom], np.empty(4)
        mujoco.mju_mat2Quat(quaternion, data.geom_xmat[geom])
    kind = mujoco.mjtGeom(model.geom_type[geom]).name.removeprefix("mjGEOM_").lower()
    shape: dict[str, Any] = {
        "type": kind,
        "size": _rounded(model.geom_size[geom]),
        # A plane is a checkerboard in the page's own shades, tinted by what the model says.
        "color": _rounded(model.geom_rgba[geom]) if kind == "plane" else _color(model, geom),
        "body": bodies.index(body) if body in bodies else -1,
        "pos": _rounded(position),
        "quat": _rounded(quaternion),
    }
    if kind in ("mesh", "sdf", "hfield"):
        source = "hfield" if kind == "hfield" else "mesh"
        key = (source, int(model.geom_dataid[geom]))
        shape |= {"type": "mesh", "mesh": meshes.setdefault(key, len(meshes))}
    return shape


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.7g}") for value in values]


def _pack_mesh(model: Any, source: str, index: int) -> dict[str, str]:
    make = _height_field if source == "hfield" else _mesh
    vertices, normals, faces = make(model, index)
    return {"vertices": pack(vertices), "normals": pack(normals), "faces": pack(faces, "<u4")}


def _mesh(model: Any, mesh: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3], normals [V, 3], faces [N, 3], one vertex per (position, normal) in use."""

    def rows(field: str, count: str, address: str) -> np.ndarray:
        start = int(getattr(model, address)[mesh])
        return getattr(model, field)[start : start + int(getattr(model, count)[mesh])]

    vertices = rows("mesh_vert", "mesh_vertnum", "mesh_vertadr")
    normals = rows("mesh_normal", "mesh_normalnum", "mesh_normaladr")
    corners = rows("mesh_face", "mesh_facenum", "mesh_faceadr").ravel()
    corner_normals = rows("mesh_facenormal", "mesh_facenum", "mesh_faceadr").ravel()
    pairs, faces = np.unique(
        np.stack([corners, corner_normals], axis=1), axis=0, return_inverse=True
    )
    return vertices[pairs[:, 0]], normals[pairs[:, 1]], faces.reshape(-1, 3)


def _height_field(model: Any, field: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The upper surface as (vertices, normals, faces), thinned to ``_FIELD_POINTS`` a side."""
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    start = int(model.hfield_adr[field])
    heights = model.hfield_data[start : start + rows * columns].reshape(rows, columns)
    row, column = (
        np.unique(np.linspace(0, count - 1, min(count, _FIELD_POINTS)).round().astype(int))
        for count in (rows, columns)
    )
    half_x, half_y, top = model.hfield_size[field][:3]
    x, y = half_x * (2 * column / (columns - 1) - 1), half_y * (2 * row / (rows - 1) - 1)
    z = heights[np.ix_(row, column)] * top
    slope_y, slope_x = np.gradient(z, y, x)
    normals = np.stack([-slope_x, -slope_y, np.ones_like(z)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    vertices = np.stack([*np.meshgrid(x, y), z], axis=-1)
    corner = np.arange(z.size).reshape(z.shape)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = np.stack([a, b, c, a, c, d], axis=-1)
    return vertices.reshape(-1, 3), normals.reshape(-1, 3), faces.reshape(-1, 3)


def _notes(model: Any) -> list[str]:
    missing = {"flexible bodies": model.nflex, "skins": model.nskin}
    names = [name for name, count in missing.items() if count]
    return [f"Not drawn: {', '.join(names)}."] if names else []
