"""The two-parameter learning-rate schedule of Vicol, Metz and Sohl-Dickstein (2021).

A point x in the plane descends a bumpy function for T steps of gradient descent. theta = (theta_0,
theta_1) are the logarithms of the learning rate at the start and at the end; the rate itself decays
linearly from one to the other. Large rates cross the bumps and reach the minimum far away, but a
method that looks only a few steps ahead prefers small ones. As a function of theta the loss of a
long unroll is chaotic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pes_rl.problems.protocol import Step


class Descent(NamedTuple):
    """Where the point is, x [2], and the inner step it is at, int32."""

    x: Array
    t: Array


def height(x: Array) -> Array:
    """The function that is descended; its minimum, 0, is near x = (0, 100)."""
    bumps = jnp.sin(x[1]) ** 2 * jnp.exp(-5 * x[0] ** 2)
    return jnp.sqrt(x[0] ** 2 + 5) - jnp.sqrt(5.0) + bumps + 0.25 * jnp.abs(x[1] - 100)


@dataclass(frozen=True)
class ToyRegression:
    """theta [2], log learning rates; T inner steps; the loss of a step is the height after it."""

    horizon: int = 100

    def init(self, key: Any, theta: Array) -> Descent:
        """The point (1, 1)."""
        return Descent(jnp.ones(2, theta.dtype), jnp.zeros((), jnp.int32))

    def step(self, key: Any, theta: Array, carry: Descent) -> tuple[Descent, Step]:
        """One step of gradient descent with the scheduled rate."""
        late = (carry.t / self.horizon).astype(theta.dtype)
        rate = (1 - late) * jnp.exp(theta[0]) + late * jnp.exp(theta[1])
        x = carry.x - rate * jax.grad(height)(carry.x)
        return Descent(x, carry.t + 1), Step(height(x), False)

    def total_loss(self, theta: Array, steps: int | None = None) -> Array:
        """Summed loss of the first ``steps`` inner steps, T by default."""

        def advance(carry: Descent, _: None):
            carry, out = self.step(None, theta, carry)
            return carry, out.loss

        start = self.init(None, theta)
        return jax.lax.scan(advance, start, length=steps or self.horizon)[1].sum()
