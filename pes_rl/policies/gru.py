"""Gated recurrent unit policy (Cho et al. 2014); its hidden state lives with the particle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any


@dataclass(frozen=True)
class GRU:
    """One GRU layer and a linear output that starts at zero.

    Gates in the order reset r, update z, candidate n, with
    ``n = tanh(W_n x + b_n + r * (U_n h))`` and ``h' = (1 - z) * n + z * h``.
    Parameters: W [3H, O], U [3H, H], b [3H], output matrix [A, H], output bias [A].
    """

    observation_size: int
    action_size: int
    hidden_size: int = 32

    @property
    def state_size(self) -> int:
        """H, the length of the hidden state."""
        return self.hidden_size

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        inp, A, H = self.observation_size, self.action_size, self.hidden_size
        return (3 * H, inp), (3 * H, H), (3 * H,), (A, H), (A,)

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return int(sum(np.prod(shape) for shape in self._shapes))

    def init(self, seed: int) -> np.ndarray:
        """Initial theta [P]: normal weights of variance 1 / fan-in, zero biases and output."""
        rng = np.random.default_rng([seed, self.num_params])
        parts = [rng.standard_normal(np.prod(s)) / np.sqrt(s[1]) for s in self._shapes[:2]]
        rest = self.num_params - sum(part.size for part in parts)
        return np.concatenate([*parts, np.zeros(rest)]).astype(np.float32)

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Views of theta [..., P] in the order of the class docstring."""
        offset, views = 0, []
        for shape in self._shapes:
            size = int(np.prod(shape))
            views.append(theta[..., offset : offset + size].reshape(*theta.shape[:-1], *shape))
            offset += size
        return tuple(views)

    def apply(self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array) -> tuple:
        """Actions [..., A] and new hidden state [..., H] from observations and hidden state."""
        W, U, b, V, c = weights
        H = self.hidden_size
        drive = xp.matmul(W, x[..., None])[..., 0] + b
        recur = xp.matmul(U, state[..., None])[..., 0]
        gates = 0.5 * (1 + xp.tanh(0.5 * (drive[..., : 2 * H] + recur[..., : 2 * H])))  # sigmoid
        r, z = gates[..., :H], gates[..., H:]
        n = xp.tanh(drive[..., 2 * H :] + r * recur[..., 2 * H :])
        state = (1 - z) * n + z * state
        return xp.matmul(V, state[..., None])[..., 0] + c, state
