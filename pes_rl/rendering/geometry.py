"""Geometry that pages and pictures share: boxes around shapes, and smoothed paths."""

from __future__ import annotations

from typing import Any

import numpy as np

VISIBLE_GROUPS = (0, 1, 2)  # MuJoCo's viewers hide groups 3 to 5 (collision shapes) by default


def boxes(model: Any, data: Any, geoms: np.ndarray) -> np.ndarray:
    """Lowest and highest corners [G, 2, 3] of the boxes around ``geoms`` [G] as ``data`` is."""
    turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
    middle, half = model.geom_aabb[geoms, :3], model.geom_aabb[geoms, 3:]
    center = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", turns, middle)
    extent = np.einsum("gij,gj->gi", np.abs(turns), half)
    return np.stack([center - extent, center + extent], axis=1)


def smooth(path: np.ndarray, width: float) -> np.ndarray:
    """Centred moving average of ``path`` [F, 3] over about ``width`` frames, its ends repeated."""
    half = min(len(path), round(width / 2))
    size = 2 * half + 1
    padded = np.pad(path, ((half, half), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), axis=0)
    return (sums[size:] - sums[:-size]) / size
