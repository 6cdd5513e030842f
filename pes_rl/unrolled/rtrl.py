"""Real-time recurrent learning (Williams and Zipser 1989): exact forward-mode sensitivities.

Carries J = ds/dtheta [S, P] along with the state s:

    J' = dF/ds J + dF/dtheta,    gradient of this step's loss = dl/ds J + dl/dtheta

Exact at fixed theta, whatever K, at P forward-mode derivatives per step. While theta moves, J mixes
the sensitivities to older parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from pes_rl.problems.protocol import Problem, Step
from pes_rl.unrolled import vector
from pes_rl.unrolled.forward import Keys, Sensitive, forward_rule
from pes_rl.unrolled.method import Method
from pes_rl.unrolled.single import Array, make_method


def rtrl(
    problem: Problem,
    segment_length: int,
    horizon: int | None,
    *,
    num_particles: int = 1,
    staggered: bool = True,
) -> Method:
    """Exact gradient of each segment's loss through the whole episode so far."""
    rule = forward_rule(WithJacobian(problem), segment_length)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)


@dataclass(frozen=True)
class WithJacobian:
    """A problem that carries its Jacobian, transposed: the sensitivity is J^T [P, S]."""

    problem: Problem

    def init(self, keys: Keys, theta: Array) -> Sensitive:
        """A start state and its derivative."""
        start = partial(vector.start, self.problem, keys.problem)
        jacobian, carry = jax.jacfwd(start, has_aux=True)(theta)
        return Sensitive(carry, jacobian.T, jnp.zeros_like(theta))

    def step(self, keys: Keys, theta: Array, now: Sensitive) -> tuple[Sensitive, Step]:
        """One step, and its derivative along every column of J."""
        step = partial(vector.step, self.problem, keys.problem, now.carry)
        values = vector.values_of(now.carry)
        _, slopes, (carry, out) = jax.linearize(step, theta, values, has_aux=True)
        axes = jnp.eye(theta.size, dtype=theta.dtype)
        columns, gradient = jax.vmap(slopes)(axes, now.sensitivity)  # one a parameter
        return Sensitive(carry, columns, now.gradient + gradient), out
