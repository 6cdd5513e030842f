"""Multilayer perceptron policy whose output layer starts at zero."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from pes_rl.policies.protocol import Activation, Array, Graph


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with biases; parameters layer by layer, matrix then bias."""

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    state_size: int = 0

    @classmethod
    def make(
        cls,
        observation_size: int,
        action_size: int,
        hidden_sizes: tuple[int, ...],
        activation: Activation,
    ) -> MLP:
        """The policy of these sizes, one hidden layer for each of ``hidden_sizes``."""
        return cls(observation_size, action_size, hidden_sizes, activation)

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        sizes = (self.observation_size, *self.hidden_sizes, self.action_size)
        return [(out, inp) for inp, out in itertools.pairwise(sizes)]

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return sum(out * inp + out for out, inp in self._shapes)

    def init(self, seed: int) -> np.ndarray:
        """Initial theta [P]: normal weights of variance 1 / fan-in, zero biases and output."""
        rng = np.random.default_rng([seed, self.num_params])
        parts = []
        for out, inp in self._shapes[:-1]:
            parts += [rng.standard_normal(out * inp) / np.sqrt(inp), np.zeros(out)]
        out, inp = self._shapes[-1]
        return np.concatenate([*parts, np.zeros(out * inp + out)]).astype(np.float32)

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Views of theta [..., P]: matrix [..., out, in], bias [..., out] of each layer."""
        lead, offset, views = theta.shape[:-1], 0, []
        for out, inp in self._shapes:
            views.append(theta[..., offset : offset + out * inp].reshape(*lead, out, inp))
            offset += out * inp
            views.append(theta[..., offset : offset + out])
            offset += out
        return tuple(views)

    def apply(
        self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array
    ) -> tuple[Array, Array]:
        """Outputs [..., A] of normalised observations ``x`` [..., O]; ``state`` is passed on."""
        last = len(weights) // 2 - 1
        for i in range(last + 1):
            x = xp.matmul(weights[2 * i], x[..., None])[..., 0] + weights[2 * i + 1]
            if i < last:
                x = xp.tanh(x) if self.activation == "tanh" else xp.maximum(x, 0)
        return x, state

    def onnx(self, weights: tuple[np.ndarray, ...]) -> Graph:
        """The network of `apply` as lines of ONNX."""
        activation, last = {"tanh": "Tanh", "relu": "Relu"}[self.activation], len(weights) // 2 - 1
        lines = []
        for i in range(last):
            lines += [f"h{i} = Gemm <transB = 1> (x{i}, w{2 * i}, w{2 * i + 1})"]
            lines += [f"x{i + 1} = {activation} (h{i})"]
        lines += [f"output = Gemm <transB = 1> (x{last}, w{2 * last}, w{2 * last + 1})"]
        return Graph(lines, {f"w{i}": array for i, array in enumerate(weights)})
