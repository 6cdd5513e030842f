"""N unperturbed particles of a differentiable problem, each with the gradient of its segment.

What distinguishes backpropagation, RTRL and UORO is how one particle's segment is differentiated
and what it carries for that: a `Rule`. The clocks and the mean over particles, here, are the same
for all of them. Restarts, random numbers and the end of an episode are those of the pairs, in
`pes_rl.particles.problem`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.estimators.clocks import Clocks, advance, episode_length, first_clocks, step_limit
from pes_rl.estimators.core import Segment
from pes_rl.particles.problem import EACH, ParticleState, not_begun
from pes_rl.problems.protocol import Carry, Problem, check_problem
from pes_rl.unrolled.method import Method, totals

Array = jax.Array


class Rule(NamedTuple):
    """A way to differentiate one particle, which may carry more than the problem does.

    Attributes:
      init: ``(key, theta) -> carry``, for its shapes alone.
      segment: ``(theta, restart, step_limit, particle) -> (gradient [P], segment, particle)``.
    """

    init: Callable[[Any, Array], Carry]
    segment: Callable[[Array, Array, Array, ParticleState], tuple[Array, Segment, ParticleState]]


def differentiate(
    rule: Rule, theta: Array, restart: Array, limit: Array, state: ParticleState
) -> tuple[Array, Segment, ParticleState]:
    """Unroll N particles; gradients [N, P] are 0 and marked invalid where they are not finite.

    Args:
      rule: how each is differentiated.
      theta: [P], of all.
      restart: bool [N], whether an episode begins.
      limit: int32 [N], steps after which the segment is cut.
      state: the particles.
    """
    segments = jax.vmap(rule.segment, (None, 0, 0, EACH), (0, 0, EACH))
    gradient, segment, state = segments(theta, restart, limit, state)
    invalid = segment.invalid | ~jnp.isfinite(gradient).all(axis=1)
    gradient = jnp.where(invalid[:, None], 0, gradient)
    return gradient, segment._replace(invalid=invalid), state


def make_method(
    problem: Problem,
    rule: Rule,
    segment_length: int,
    horizon: int | None,
    num_particles: int,
    staggered: bool,
) -> Method:
    """The method that averages a rule's gradients over N particles.

    Args:
      problem: differentiable in theta and in the floating leaves of its carry.
      rule: how one particle is differentiated.
      segment_length: K, steps per update.
      horizon: T, steps after which an episode is truncated; None for an endless problem.
      num_particles: N.
      staggered: shorten first episodes so that the clocks are spread over the horizon (breakstep);
        False keeps all particles at the same step (lockstep).

    Raises:
      ValueError: the segment does not fit the horizon.
    """
    episode_length(segment_length, horizon)

    def init(key: Any, theta: Array) -> tuple[Clocks, ParticleState]:
        check_problem(problem, theta)
        clocks = first_clocks(key, num_particles, segment_length, horizon, staggered)
        return clocks, not_begun(key, rule.init(key, theta), (num_particles,))

    def estimate(theta: Array, state: tuple[Clocks, ParticleState]):
        clocks, particles = state
        limit = step_limit(clocks, segment_length)
        restart = clocks.clock == 0
        gradient, segment, particles = differentiate(rule, theta, restart, limit, particles)
        over = jnp.logical_or(segment.ended, segment.invalid)
        clocks = advance(clocks, segment_length, horizon, over)
        metrics = totals(segment, segment.invalid.sum(dtype=jnp.int32))
        return gradient.mean(axis=0), (clocks, particles), metrics

    return Method(init, estimate)
