"""Influence balancing (Tallec and Ollivier 2017, section 4; Vicol et al. 2021): short and long term
effects of one parameter pull in opposite directions.

A linear chain of n units, s' = A s + u, with 1/2 on A's diagonal and superdiagonal. The scalar
theta drives the first p units with +theta and the others with -theta, and the loss is
(s_1 - 1)^2 / 2. A larger theta raises s_1 at once, but in the long run s_1 = 2 (p - (n - p)) theta
sinks, because the more numerous negative units are farther away. An estimator that is blind beyond
a few steps moves theta the wrong way. The problem is endless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from pes_rl.problems.protocol import Step


@dataclass(frozen=True)
class InfluenceBalancing:
    """theta [1]; n units, of which the first p are driven positively."""

    n: int = 23
    p: int = 10

    @property
    def optimum(self) -> float:
        """The theta whose steady state has s_1 = 1."""
        return 1 / (2 * (2 * self.p - self.n))

    def init(self, key: Any, theta: Array) -> Array:
        """All ones."""
        return jnp.ones(self.n, theta.dtype)

    def step(self, key: Any, theta: Array, s: Array) -> tuple[Array, Step]:
        """One step of the chain; the loss is that of the new state."""
        drive = jnp.where(jnp.arange(self.n) < self.p, theta[0], -theta[0])
        s = 0.5 * s + 0.5 * jnp.append(s[1:], 0) + drive
        return s, Step(0.5 * (s[0] - 1) ** 2, False)
