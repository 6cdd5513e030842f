"""Linear policies: without a bias as in ARS (Mania et al. 2018, section 3), and with one as in
ClipUp (Toklu, Liskowski and Srivastava 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pes_rl.policies.protocol import Activation, Array, Graph


@dataclass(frozen=True)
class _Sizes:
    """What both have in common."""

    observation_size: int
    action_size: int
    state_size: int = 0

    @classmethod
    def make(
        cls,
        observation_size: int,
        action_size: int,
        hidden_sizes: tuple[int, ...],
        activation: Activation,
    ) -> Self:
        """The policy of these sizes; it has no hidden layer."""
        del hidden_sizes, activation
        return cls(observation_size, action_size)

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return self.observation_size * self.action_size

    def init(self, seed: int) -> np.ndarray:
        """Initial theta [P]: zeros, whatever the seed."""
        del seed
        return np.zeros(self.num_params, np.float32)


@dataclass(frozen=True)
class Linear(_Sizes):
    """``action = M x``, starting at ``M = 0``. Parameters: ``M`` row by row."""

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Weight matrix [..., A, O] as a view of theta [..., P]."""
        return (theta.reshape(*theta.shape[:-1], self.action_size, self.observation_size),)

    def apply(
        self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array
    ) -> tuple[Array, Array]:
        """Outputs [..., A] of normalised observations ``x`` [..., O]; ``state`` is passed on."""
        (matrix,) = weights
        return xp.matmul(matrix, x[..., None])[..., 0], state

    def onnx(self, weights: tuple[np.ndarray, ...]) -> Graph:
        """The network of `apply` as lines of ONNX."""
        return Graph(["output = Gemm <transB = 1> (x0, w0)"], {"w0": weights[0]})


@dataclass(frozen=True)
class LinearBias(_Sizes):
    """``action = M x + b``, starting at 0. Parameters: ``M`` row by row, then ``b``.

    On normalised observations a linear policy acts around the mean observation, which moves as it
    learns; the bias lets it hold another posture than that one's.
    """

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return super().num_params + self.action_size

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Views of theta [..., P]: matrix [..., A, O] and bias [..., A]."""
        matrix, bias = theta[..., : -self.action_size], theta[..., -self.action_size :]
        return matrix.reshape(*theta.shape[:-1], self.action_size, self.observation_size), bias

    def apply(
        self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array
    ) -> tuple[Array, Array]:
        """Outputs [..., A] of normalised observations ``x`` [..., O]; ``state`` is passed on."""
        matrix, bias = weights
        return xp.matmul(matrix, x[..., None])[..., 0] + bias, state

    def onnx(self, weights: tuple[np.ndarray, ...]) -> Graph:
        """The network of `apply` as lines of ONNX."""
        return Graph(
            ["output = Gemm <transB = 1> (x0, w0, w1)"], {"w0": weights[0], "w1": weights[1]}
        )
