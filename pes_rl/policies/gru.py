"""Gated recurrent unit policy (Cho et al. 2014); its hidden state lives with the particle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pes_rl.policies.protocol import Activation, Array, Graph


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

    @classmethod
    def make(
        cls,
        observation_size: int,
        action_size: int,
        hidden_sizes: tuple[int, ...],
        activation: Activation,
    ) -> GRU:
        """The policy of these sizes; the one hidden size is that of its state."""
        del activation
        return cls(observation_size, action_size, hidden_sizes[0])

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

    def apply(
        self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array
    ) -> tuple[Array, Array]:
        """Outputs [..., A] and new state [..., H] of normalised observations [..., O] and state."""
        W, U, b, V, c = weights
        H = self.hidden_size
        drive = xp.matmul(W, x[..., None])[..., 0] + b
        recur = xp.matmul(U, state[..., None])[..., 0]
        gates = 0.5 * (1 + xp.tanh(0.5 * (drive[..., : 2 * H] + recur[..., : 2 * H])))  # sigmoid
        r, z = gates[..., :H], gates[..., H:]
        n = xp.tanh(drive[..., 2 * H :] + r * recur[..., 2 * H :])
        state = (1 - z) * n + z * state
        return xp.matmul(V, state[..., None])[..., 0] + c, state

    def onnx(self, weights: tuple[np.ndarray, ...]) -> Graph:
        """The network of `apply` as ONNX's GRU over a sequence of one step."""
        H = self.hidden_size
        order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]  # z, r, n in ONNX
        W, U, b = (array[order] for array in weights[:3])
        lines = [
            "sequence = Unsqueeze (x0, first)",
            "before = Unsqueeze (state, first)",
            f"all, after = GRU <hidden_size = {H}, linear_before_reset = 1>"
            ' (sequence, W, U, b, "", before)',
            "next_state = Squeeze (after, first)",
            "output = Gemm <transB = 1> (next_state, V, c)",
        ]
        bias = np.concatenate([b, np.zeros_like(b)])  # the second would be inside r * (U h + .)
        arrays = {"W": W[None], "U": U[None], "b": bias[None], "V": weights[3], "c": weights[4]}
        return Graph(lines, {**arrays, "first": np.array([0])})
