"""Surfaces of meshes and height fields, as triangles that need no MuJoCo."""

from __future__ import annotations

from typing import Any

import numpy as np

_FIELD_POINTS = 128  # height fields are thinned to at most this many points a side


def mesh_surface(model: Any, mesh: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def field_surface(model: Any, field: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
