"""The L2 coefficient of a linear regression, tuned while it trains (Vicol, Metz and Sohl-Dickstein
2021; Vicol, Kolter and Swersky 2023, on UCI Yacht).

One step of an endless training is one step of gradient descent on the ridge objective

    |X w - y|^2 / (2 M) + exp(theta) |w|^2 / 2

and its loss is the mean squared error on held-out data. At rest w is the ridge regression's closed
form, so the best theta is known by brute force.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from pes_rl.problems.protocol import Step


@dataclass(frozen=True, eq=False)
class Ridge:
    """theta [1]: logarithm of the L2 coefficient.

    Attributes:
      X: training inputs [M, D].
      y: training targets [M].
      X_held_out: [M', D].
      y_held_out: [M'].
      rate: of the gradient descent, below 2 / the largest eigenvalue of X^T X / M.
    """

    X: np.ndarray
    y: np.ndarray
    X_held_out: np.ndarray
    y_held_out: np.ndarray
    rate: float = 0.3

    def init(self, key: Any, theta: Array) -> Array:
        """Weights 0 [D]."""
        return jnp.zeros(self.X.shape[1], theta.dtype)

    def step(self, key: Any, theta: Array, w: Array) -> tuple[Array, Step]:
        """Gradient descent; the shrinkage is implicit, so that any coefficient is stable."""
        X, y = jnp.asarray(self.X, w.dtype), jnp.asarray(self.y, w.dtype)
        slope = X.T @ (X @ w - y) / len(self.y)
        w = (w - self.rate * slope) / (1 + self.rate * jnp.exp(theta[0]))
        return w, Step(self.held_out_loss(w), False)

    def held_out_loss(self, w: Array) -> Array:
        """Mean squared error of weights [D]."""
        error = jnp.asarray(self.X_held_out, w.dtype) @ w - jnp.asarray(self.y_held_out, w.dtype)
        return (error**2).mean()

    def at_rest(self, theta: np.ndarray) -> np.ndarray:
        """Held-out losses [G] of the fully trained regressions, for theta [G], in float64."""
        gram, moment = self.X.T @ self.X / len(self.y), self.X.T @ self.y / len(self.y)
        eye = np.eye(self.X.shape[1])
        w = np.linalg.solve(gram + np.exp(theta)[:, None, None] * eye, moment[:, None])[..., 0]
        return ((self.X_held_out @ w.T - self.y_held_out[:, None]) ** 2).mean(axis=0)

    def optimum(self) -> float:
        """The best theta in -8..8, by brute force, to 0.001."""
        grid = np.linspace(-8, 8, 16_001)
        return float(grid[self.at_rest(grid).argmin()])


def ridge(X: np.ndarray, y: np.ndarray, train: int) -> Ridge:
    """The problem on the first ``train`` rows, judged by the others."""
    largest = float(np.linalg.eigvalsh(X[:train].T @ X[:train] / train).max())
    return Ridge(X[:train], y[:train], X[train:], y[train:], rate=1 / largest)
