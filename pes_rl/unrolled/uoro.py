"""Unbiased online recurrent optimisation (Tallec and Ollivier 2017): RTRL by rank-one estimates.

RTRL's J = ds/dtheta is replaced by an outer product a b^T with E[a b^T] = J, carried forward with
fresh random signs nu in the state's space at every step:

    a' = r0 dF/ds a + r1 nu,    b' = b / r0 + nu^T dF/dtheta / r1
    gradient of this step's loss = (dl/ds a) b + dl/dtheta

r0 and r1 balance the norms of the two factors (their section 3.2); any choice even in nu leaves
the estimate unbiased at fixed theta.
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
    rule = forward_rule(WithRankOne(problem), segment_length)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)


@dataclass(frozen=True)
class WithRankOne:
    """A problem that carries a random estimate of its Jacobian: the sensitivity is a [S], b [P]."""

    problem: Problem

    def init(self, keys: Keys, theta: Array) -> Sensitive:
        """A start state and an estimate of its derivative."""
        start = partial(vector.start, self.problem, keys.problem)
        values, pull, carry = jax.vjp(start, theta, has_aux=True)
        signs = jax.random.rademacher(keys.noise, values.shape, values.dtype)
        zero = jnp.zeros_like(theta)
        rank_one = _add(jnp.zeros_like(values), zero, signs, pull(signs)[0])
        return Sensitive(carry, rank_one, zero)

    def step(self, keys: Keys, theta: Array, now: Sensitive) -> tuple[Sensitive, Step]:
        """One step, its derivative along a and an estimate of that in theta."""
        (a, b), values = now.sensitivity, vector.values_of(now.carry)
        step = partial(vector.step, self.problem, keys.problem, now.carry)
        moved, loss_slope = jax.jvp(lambda v: step(theta, v)[0], (values,), (a,))[1]
        _, pull, (carry, out) = jax.vjp(lambda p: step(p, values), theta, has_aux=True)
        (direct,) = pull((jnp.zeros_like(values), jnp.ones_like(out.loss)))
        signs = jax.random.rademacher(keys.noise, values.shape, values.dtype)
        (pulled,) = pull((signs, jnp.zeros_like(out.loss)))
        gradient = now.gradient + (loss_slope * b + direct)
        return Sensitive(carry, _add(moved, b, signs, pulled), gradient), out


def _add(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """One outer product for the sum of two, a b^T + c d^T, right on average over c's signs."""
    first, second = _ratio(b, a), _ratio(d, c)
    return first * a + second * c, b / first + d / second


def _ratio(b: Array, a: Array) -> Array:
    return jnp.sqrt((jnp.linalg.norm(b) + _SMALL) / (jnp.linalg.norm(a) + _SMALL))
