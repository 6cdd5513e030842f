"""Backpropagation through time, cut at segment boundaries (Williams and Peng 1990).

The state at the start of a segment counts as a constant, so the gradient is blind to what the
parameters do beyond the segment: cheap, and biased for K < T.
"""

from __future__ import annotations

import jax

from pes_rl.particles.problem import ParticleState, begin, reset_key, unroll
from pes_rl.problems.protocol import Problem
from pes_rl.unrolled.method import Method
from pes_rl.unrolled.single import Array, Rule, make_method


def truncated_bptt(
    problem: Problem,
    segment_length: int,
    horizon: int | None,
    *,
    num_particles: int = 1,
    staggered: bool = True,
) -> Method:
    """Gradient of each segment's loss through the K steps of that segment alone."""
    rule = backpropagation_rule(problem, segment_length)
    return make_method(problem, rule, segment_length, horizon, num_particles, staggered)


def backpropagation_rule(problem: Problem, segment_length: int) -> Rule:
    """Reverse-mode differentiation of one segment; nothing is carried but the problem's state."""

    def total(theta: Array, restart: Array, step_limit: Array, particle: ParticleState):
        particle = begin(problem, reset_key(particle), theta, restart, particle)
        segment, after = unroll(problem, segment_length, theta, step_limit, particle)
        return segment.loss, (segment, after)

    def segment(theta: Array, restart: Array, step_limit: Array, particle: ParticleState):
        loss_and_gradient = jax.value_and_grad(total, has_aux=True)
        (_, out), gradient = loss_and_gradient(theta, restart, step_limit, particle)
        return gradient, *out

    return Rule(problem.init, segment)
