"""Smooth the steps along edges of a drawn picture.

Without a GPU, drawing four samples a pixel takes longer than everything else together. Few pixels
lie on edges, so that it is cheaper to find these, and to mix colours along the edge there, as
fast approximate antialiasing does (Lottes 2009).
"""

from __future__ import annotations

import numpy as np

_LEAST_CONTRAST = 24  # of 255; the floor's tiles are below it, and smooth by themselves
_REACH = 8.0  # pixels along an edge
_NEAR, _FAR = (-1 / 6, 1 / 6), (-1 / 2, 1 / 2)  # where colours are taken, in parts of that


def smooth(picture: np.ndarray) -> None:
    """Smooth the edges of ``picture``, uint8 [H, W, 3], contiguous, in place."""
    width = picture.shape[1]
    light = picture[..., 1].copy()  # green: most of what is seen as brightness
    where = _edges(light)
    rows, columns = np.divmod(where, width)
    flat, shades = picture.reshape(-1, 3), light.ravel()
    # Brightness at the corners of the pixel: rising to the right and downwards, it says how the
    # edge lies; the less it changes in one of the directions, the farther the edge runs straight.
    corners = [shades[where + o].astype(np.float32) for o in (-width - 1, -width + 1, width - 1)]
    corners.append(shades[where + width + 1].astype(np.float32))
    above, left = corners[0] + corners[1], corners[0] + corners[2]
    below, right = corners[2] + corners[3], corners[1] + corners[3]
    along = np.stack([below - above, left - right])
    least = np.abs(along).min(axis=0) + np.maximum((above + below) / 32, 1)
    along = np.clip(along / least, -_REACH, _REACH)

    def mixed(parts: tuple[float, float]) -> np.ndarray:
        first, second = (
            _sample(flat, columns, rows, part * along, picture.shape) for part in parts
        )
        return (first + second) / 2

    near = mixed(_NEAR)
    wide = (near + mixed(_FAR)) / 2
    # What reaches beyond the edge's own shades has met another edge.
    around = np.stack([*corners, shades[where]])
    kept = (wide[:, 1] >= around.min(axis=0)) & (wide[:, 1] <= around.max(axis=0))
    flat[where] = np.where(kept[:, None], wide, near) + 0.5


def _edges(light: np.ndarray) -> np.ndarray:
    """Numbers of the pixels of ``light`` [H, W] that differ much from those beside them."""
    width, flat = light.shape[1], light.ravel()
    up, down = flat[: -2 * width], flat[2 * width :]
    left, right = flat[width - 1 : -width - 1], flat[width + 1 : 1 - width]
    high = np.maximum(np.maximum(up, down), np.maximum(left, right))
    low = np.minimum(np.minimum(up, down), np.minimum(left, right))
    where = np.flatnonzero(high - low > _LEAST_CONTRAST) + width
    column = where % width
    return where[(column > 0) & (column < width - 1)]


def _sample(
    flat: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray,
    shift: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Colours [N, 3] at the pixels shifted by ``shift`` [2, N], between the four nearest ones."""
    height, width = shape[:2]
    x = np.clip(columns + shift[0], 0, width - 1.001).astype(np.float32)
    y = np.clip(rows + shift[1], 0, height - 1.001).astype(np.float32)
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, down = (x - column)[:, None], (y - row)[:, None]
    at = row * width + column
    upper = _mix(flat.take(at, 0), flat.take(at + 1, 0), right)
    lower = _mix(flat.take(at + width, 0), flat.take(at + width + 1, 0), right)
    return _mix(upper, lower, down)


def _mix(first: np.ndarray, second: np.ndarray, part: np.ndarray) -> np.ndarray:
    """``first``, and ``part`` [N, 1] of what ``second`` has more, [N, 3]."""
    return first + part * np.subtract(second, first, dtype=np.float32)
