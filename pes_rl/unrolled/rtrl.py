"""Real-time recurrent learning (Williams and Zipser 1989): exact forward-mode sensitivities.

Carries J = ds/dtheta [S, P] along with the state s:

    J' = dF/ds J + dF/dtheta,    gradient of this step's loss = dl/ds J + dl/dtheta

Exact at fixed theta, whatever K, at P forward-mode derivatives per step. While theta moves, J mixes
the sensitivities to older parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pes_rl.problems.protocol import Problem
from pes_rl.unrolled.forward import forward_rule
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

    def blank(theta: Array, values: Array) -> Array:
        return jnp.zeros((theta.size, values.size), values.dtype)

    def start(f: Callable, key: Array, theta: Array) -> Array:
        return jax.jacfwd(f)(theta).T

    def advance(f: Callable, key: Array, theta: Array, values: Array, columns: Array):
        out, slopes, aux = jax.linearize(f, theta, values, has_aux=True)
        axes = jnp.eye(theta.size, dtype=theta.dtype)
        columns, gradient = jax.vmap(slopes)(axes, columns)  # J transposed: one row a parameter
        return columns, gradient, (out, aux)

    rule = forward_rule(problem, blank, start, advance)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)
