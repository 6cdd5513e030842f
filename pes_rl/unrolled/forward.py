"""The scan that forward-mode methods share: one particle, one segment, step by step.

A forward method carries a sensitivity of the state to the parameters along with the state, so its
gradients see all of an episode's past at no cost in memory over time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.problems.protocol import Carry, Problem
from pes_rl.unrolled.single import Array, Outcome, Rule, Span, either
from pes_rl.unrolled.vector import Vector, joiner, split, vector_step

Advance = Callable[[Callable, Any, Array, Array, Any], tuple[Any, Array, tuple]]


def forward_rule(problem: Problem, blank: Callable, start: Callable, advance: Advance) -> Rule:
    """A rule from a method's three decisions.

    Args:
      problem: the problem.
      blank: ``(theta, values [S]) -> memory`` of the right shapes.
      start: ``(f, key, theta) -> memory`` at a start state ``f(theta) -> values [S]``.
      advance: ``(f, key, theta, values, memory) -> (memory, gradient [P], ((values, loss), aux))``
        for one step ``f(theta, values) -> ((values, loss), aux)``.
    """

    def segment(theta: Array, span: Span, carry: Carry, memory: Any):
        def begun(theta: Array) -> Array:
            return split(problem.init(span.reset_key, theta)).values

        noise_key = jax.random.fold_in(span.noise_keys[0], span.noise_keys.size)
        memory = either(span.restart, start(begun, noise_key, theta), memory)
        carry = either(span.restart, problem.init(span.reset_key, theta), carry)

        def one_step(loop, x):
            carry, memory, ended, invalid, loss, gradient = loop
            key, noise_key, allowed = x
            f, now = vector_step(problem, key, carry)
            live = allowed & ~ended
            later, slope, ((values, new_loss), (rest, done)) = advance(
                f, noise_key, theta, now.values, memory
            )
            bad = live & ~jnp.isfinite(new_loss)
            counts = live & ~bad
            loop = (
                either(live, joiner(carry)(Vector(values, rest)), carry),
                either(live, later, memory),
                ended | (live & done) | bad,
                invalid | bad,
                loss + jnp.where(counts, new_loss, 0),
                gradient + jnp.where(counts, slope, 0),
            )
            return loop, live

        none, zero = jnp.zeros((), bool), jnp.zeros((), theta.dtype)
        loop = (carry, memory, span.ended, none, zero, jnp.zeros_like(theta))
        xs = span.step_keys, span.noise_keys, span.allowed
        loop, live = jax.lax.scan(one_step, loop, xs)
        carry, memory, ended, invalid, loss, gradient = loop
        steps = live.sum(dtype=jnp.int32)
        return carry, memory, Outcome(loss, steps, gradient, ended, invalid)

    return Rule(lambda theta, carry: blank(theta, split(carry).values), segment)
