"""Backpropagation through time, cut at segment boundaries (Williams and Peng 1990).

The state at the start of a segment counts as a constant, so the gradient is blind to what the
parameters do beyond the segment: cheap, and biased for K < T.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pes_rl.problems.protocol import Carry, Problem
from pes_rl.unrolled.method import Method
from pes_rl.unrolled.single import Array, Outcome, Rule, Span, either, make_method


def truncated_bptt(
    problem: Problem,
    segment_length: int,
    horizon: int | None,
    *,
    num_particles: int = 1,
    staggered: bool = True,
) -> Method:
    """Gradient of each segment's loss through the K steps of that segment alone."""
    rule = backpropagation_rule(problem)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)


def backpropagation_rule(problem: Problem) -> Rule:
    """Reverse-mode differentiation of one segment; nothing is remembered between segments."""

    def segment(theta: Array, span: Span, carry: Carry, memory: None):
        def total(theta: Array):
            start = either(span.restart, problem.init(span.reset_key, theta), carry)

            def one_step(loop, x):
                carry, ended, invalid = loop
                key, allowed = x
                live = allowed & ~ended
                after, out = problem.step(key, theta, carry)
                bad = live & ~jnp.isfinite(out.loss)
                loss = jnp.where(live & ~bad, out.loss, 0)
                loop = either(live, after, carry), ended | (live & out.done) | bad, invalid | bad
                return loop, (loss, live)

            loop = start, span.ended, jnp.zeros((), bool)
            loop, (losses, live) = jax.lax.scan(one_step, loop, (span.step_keys, span.allowed))
            return losses.sum(), (loop, live.sum(dtype=jnp.int32))

        (loss, (loop, steps)), gradient = jax.value_and_grad(total, has_aux=True)(theta)
        after, ended, invalid = loop
        return after, memory, Outcome(loss, steps, gradient, ended, invalid)

    return Rule(lambda theta, carry: None, segment)
