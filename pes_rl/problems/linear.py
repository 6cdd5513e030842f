"""Linear and quadratic problems, on which the estimators' variances are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from pes_rl.problems.protocol import Step


@dataclass(frozen=True)
class LinearSegments:
    """Loss c_t . theta at step t: every step feels the parameters in force at it, and no others.

    Attributes:
      gradients: [T, P], the c_t.
    """

    gradients: Array

    def init(self, key: Any, theta: Array) -> Array:
        """Step 0."""
        return jnp.zeros((), jnp.int32)

    def step(self, key: Any, theta: Array, t: Array) -> tuple[Array, Step]:
        """The next term."""
        return t + 1, Step(self.gradients[t] @ theta, False)


class Motion(NamedTuple):
    """State x [S] and step t, int32."""

    x: Array
    t: Array


@dataclass(frozen=True)
class Tracking:
    """x' = A x + B theta has to follow targets y_t: loss |x' - y_t|^2 / 2, from x = 0.

    Losses depend on all earlier parameters through x, with A's memory.

    Attributes:
      A: [S, S].
      B: [S, P].
      targets: [T, S].
    """

    A: Array
    B: Array
    targets: Array

    def init(self, key: Any, theta: Array) -> Motion:
        """At rest."""
        return Motion(jnp.zeros(self.A.shape[0], theta.dtype), jnp.zeros((), jnp.int32))

    def step(self, key: Any, theta: Array, carry: Motion) -> tuple[Motion, Step]:
        """One step towards the next target."""
        x = self.A @ carry.x + self.B @ theta
        error = x - self.targets[carry.t]
        return Motion(x, carry.t + 1), Step(0.5 * error @ error, False)
