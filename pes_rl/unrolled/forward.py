"""What forward-mode methods share: a problem that differentiates itself while it unrolls.

A forward method carries a sensitivity of the state to the parameters along with the state, so its
gradients see all of an episode's past at no cost in memory over time. To everything else state,
sensitivity and gradient are the carry of one more problem, which restarts and ends like any other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.particles.problem import ParticleState, begin, reset_key, stream_of, unroll
from pes_rl.problems.protocol import Carry, Problem
from pes_rl.unrolled.single import Array, Rule


class Keys(NamedTuple):
    """The key of such a problem: one for the problem within it, one for the method's own noise."""

    problem: Any
    noise: Any


class Sensitive(NamedTuple):
    """The carry of such a problem.

    Attributes:
      carry: of the problem within it.
      sensitivity: whatever stands for the derivative of that carry in theta.
      gradient: [P], of the losses of the present segment.
    """

    carry: Carry
    sensitivity: Any
    gradient: Array


def forward_rule(problem: Problem, segment_length: int) -> Rule:
    """Differentiate by unrolling a problem that takes `Keys` and carries a `Sensitive`."""

    def init(key: Any, theta: Array) -> Sensitive:
        return problem.init(Keys(key, key), theta)

    def segment(theta: Array, restart: Array, step_limit: Array, particle: ParticleState):
        noise = stream_of(particle.key, streams.NOISE, particle.pair)
        # K beside the counter of a step: no step's key is drawn twice.
        noise = jax.random.fold_in(jax.random.fold_in(noise, particle.steps), segment_length)
        particle = begin(problem, Keys(reset_key(particle), noise), theta, restart, particle)
        carry = particle.carry._replace(gradient=jnp.zeros_like(theta))
        particle, drawn = particle._replace(carry=carry), Keys(streams.ENVIRONMENT, streams.NOISE)
        segment, after = unroll(problem, segment_length, theta, step_limit, particle, drawn)
        return after.carry.gradient, segment, after

    return Rule(init, segment)
