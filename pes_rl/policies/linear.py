"""Linear policy without bias, the one of ARS (Mania et al. 2018, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any


@dataclass(frozen=True)
class Linear:
    """``action = M x``, starting at ``M = 0``. Parameters: ``M`` row by row."""

    observation_size: int
    action_size: int
    state_size: int = 0

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return self.observation_size * self.action_size

    def init(self, seed: int) -> np.ndarray:
        """Initial theta [P]: zeros, whatever the seed."""
        del seed
        return np.zeros(self.num_params, np.float32)

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Weight matrix [..., A, O] as a view of theta [..., P]."""
        return (theta.reshape(*theta.shape[:-1], self.action_size, self.observation_size),)

    def apply(self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array) -> tuple:
        """Actions [..., A] for normalised observations ``x`` [..., O]; ``state`` is passed on."""
        (matrix,) = weights
        return xp.matmul(matrix, x[..., None])[..., 0], state
