"""Unbiased online recurrent optimisation (Tallec and Ollivier 2017): RTRL by rank-one estimates.

RTRL's J = ds/dtheta is replaced by an outer product a b^T with E[a b^T] = J, carried forward with
fresh random signs nu in the state's space at every step:

    a' = r0 dF/ds a + r1 nu,    b' = b / r0 + nu^T dF/dtheta / r1
    gradient of this step's loss = (dl/ds a) b + dl/dtheta

r0 and r1 balance the norms of the two factors (their section 3.2); any choice even in nu leaves
the estimate unbiased at fixed theta.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pes_rl.problems.protocol import Problem
from pes_rl.unrolled.forward import forward_rule
from pes_rl.unrolled.method import Method
from pes_rl.unrolled.single import Array, make_method

_SMALL = 1e-7  # keeps the ratios of norms finite


def uoro(
    problem: Problem,
    segment_length: int,
    horizon: int | None,
    *,
    num_particles: int = 1,
    staggered: bool = True,
) -> Method:
    """Unbiased, noisy gradient of each segment's loss through the whole episode so far."""

    def blank(theta: Array, values: Array) -> tuple[Array, Array]:
        return jnp.zeros_like(values), jnp.zeros_like(theta)

    def start(f: Callable, key: Array, theta: Array) -> tuple[Array, Array]:
        values, pull = jax.vjp(f, theta)
        signs = jax.random.rademacher(key, values.shape, values.dtype)
        return _add(jnp.zeros_like(values), jnp.zeros_like(theta), signs, pull(signs)[0])

    def advance(f: Callable, key: Array, theta: Array, values: Array, memory: tuple[Array, Array]):
        a, b = memory
        (moved, loss_slope) = jax.jvp(lambda v: f(theta, v)[0], (values,), (a,))[1]
        out, pull, aux = jax.vjp(lambda p: f(p, values), theta, has_aux=True)
        zeros = jnp.zeros_like(values)
        (direct,) = pull((zeros, jnp.ones_like(out[1])))
        signs = jax.random.rademacher(key, values.shape, values.dtype)
        (pulled,) = pull((signs, jnp.zeros_like(out[1])))
        return _add(moved, b, signs, pulled), loss_slope * b + direct, (out, aux)

    rule = forward_rule(problem, blank, start, advance)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)


def _add(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """One outer product for the sum of two, a b^T + c d^T, right on average over c's signs."""
    first, second = _ratio(b, a), _ratio(d, c)
    return first * a + second * c, b / first + d / second


def _ratio(b: Array, a: Array) -> Array:
    return jnp.sqrt((jnp.linalg.norm(b) + _SMALL) / (jnp.linalg.norm(a) + _SMALL))
