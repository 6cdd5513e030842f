"""Where the page's camera starts: what to look at, how large that is, and from which side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_SIDE, _ABOVE = (24, 16), (0, 52)  # azimuth and elevation in degrees
_FLATNESS = 0.4  # lower than this part of its smaller width, a thing lies rather than stands
_SURROUNDINGS = 3.0  # what stands still is shown too unless it is this many times as large


@dataclass(frozen=True)
class Motion:
    """What moves in F frames, as G shapes, and what stands still, as S shapes (planes aside).

    Shapes are given by the lowest and the highest corner of the box around them.

    Attributes:
      moving: corners of the moving shapes, [F, G, 2, 3].
      still: corners of the others, [S, 2, 3].
      own: which moving shapes belong to the robot, bool [G].
      roots: where the robot's first body is, [F, 3].
      track: the robot's mass centre, smoothed, [F, 3].
    """

    moving: np.ndarray
    still: np.ndarray
    own: np.ndarray
    roots: np.ndarray
    track: np.ndarray


def first_view(motion: Motion, center: np.ndarray, extent: float) -> dict[str, Any]:
    """The camera's first position, as the page reads it.

    Keys are ``center``, ``half``, ``radius``, ``azimuth``, ``elevation`` and ``follow``:
    ``half`` [3] is half the size of the box to be seen, ``radius`` that of the ball around it;
    angles are in degrees. A robot that travels is followed. Otherwise the view shows the room that
    everything uses, with what is built around it; ``center`` and ``extent`` serve a model where
    nothing moves.
    """
    if not motion.moving.size:
        return _view(center, np.full(3, extent / 2), _SIDE, False)
    shown = motion.own if motion.own.any() else np.ones_like(motion.own)
    from_track = motion.moving[:, shown] - motion.track[:, None, None]
    half = np.abs(from_track).max((0, 1, 2))
    spread = np.ptp(from_track.mean(axis=2).reshape(-1, 3), axis=0)
    angles = _ABOVE if spread[2] < _FLATNESS * spread[:2].min() else _SIDE
    if np.linalg.norm(np.ptp(motion.roots, axis=0)) > np.linalg.norm(half):
        return _view(motion.track[0], half, angles, True)
    low, high = _room(motion)
    return _view((low + high) / 2, (high - low) / 2, angles, False)


def _room(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner [3] of the box that everything stays in."""
    low, high = motion.moving[:, :, 0].min((0, 1)), motion.moving[:, :, 1].max((0, 1))
    if not len(motion.still):
        return low, high
    around = np.minimum(low, motion.still[:, 0].min(0)), np.maximum(high, motion.still[:, 1].max(0))
    wider = np.linalg.norm(around[1] - around[0]) / np.linalg.norm(high - low)
    return around if wider < _SURROUNDINGS else (low, high)


def _view(
    center: np.ndarray, half: np.ndarray, angles: tuple[int, int], follow: bool
) -> dict[str, Any]:
    return {
        "center": [float(f"{value:.5g}") for value in center],
        "half": [float(f"{value:.5g}") for value in half],
        "radius": float(f"{np.linalg.norm(half):.4g}") or 1.0,
        "azimuth": angles[0],
        "elevation": angles[1],
        "follow": follow,
    }
