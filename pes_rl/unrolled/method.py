"""A method: anything that turns an unrolled problem into one gradient per update.

Evolution strategies evaluate pairs of perturbed particles; the gradient-only baselines
differentiate the computation. Both are the same two pure functions to the loop that uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.estimators.core import ALL_HERE, Estimator, EstimatorState, Placement, Segment
from pes_rl.particles.problem import ParticleState, lift
from pes_rl.problems.protocol import Problem

Array = jax.Array


class Metrics(NamedTuple):
    """Sums over one update, over all particles.

    Attributes:
      loss: float, losses of the live steps.
      steps: int32, live steps; what an update costs.
      invalid: int32, particles whose loss or gradient was not finite; they contribute nothing.
      refused: int32, 1 where shaping refused the update, which must then move nothing.
    """

    loss: Array
    steps: Array
    invalid: Array
    refused: Array


class Method(NamedTuple):
    """A pair of pure functions; the state is a tree of arrays.

    Attributes:
      init: ``(key, theta) -> state``.
      estimate: ``(theta, state) -> (gradient [P], state, Metrics)``; unrolls one segment.
    """

    init: Callable[[Any, Array], Any]
    estimate: Callable[[Array, Any], tuple[Array, Any, Metrics]]


def evolution(
    problem: Problem,
    estimator: Estimator,
    placement: Placement = ALL_HERE,
    chunk: int | None = None,
) -> Method:
    """One of `pes_rl.estimators` on the population of a problem.

    Args:
      problem: what is unrolled.
      estimator: of all N pairs.
      placement: where they are; ``estimate`` is given those that are here, see `layout`.
      chunk: pairs unrolled at a time, a divisor of those that are here; all of them if None.
    """

    def runner(num_pairs: int):
        return lift(problem, num_pairs, estimator.segment_length, estimator.perturb_std, chunk)

    def init(key: Any, theta: Array):
        noise_key, problem_key = jax.random.split(key)
        state = estimator.init(noise_key, theta)
        return state, runner(state.clock.size).init(problem_key, theta)

    def estimate(theta: Array, state: Any):
        inner, particles = state
        plan, inner = estimator.perturb(inner)
        segment, particles = runner(inner.clock.size).unroll(theta, plan, particles)
        gradient, inner, info = estimator.gradient(inner, segment, placement)
        everywhere = jax.tree.map(placement.gather, segment)
        metrics = totals(everywhere, info.invalid_particles, info.zero_update)
        return gradient, (inner, particles), metrics

    return Method(init, estimate)


def layout() -> tuple[EstimatorState, ParticleState]:
    """Of a state of `evolution`, by branches: whether the leading axis is that of the pairs."""
    estimator: Any = EstimatorState._make((False, *[True] * 6, False))
    particles: Any = ParticleState._make((False, *[True] * 5))
    return estimator, particles


def totals(segment: Segment, invalid: Array, refused: Array | bool = False) -> Metrics:
    """The metrics of one segment of a population."""
    steps = segment.steps.sum(dtype=jnp.int32)
    return Metrics(segment.loss.sum(), steps, invalid, jnp.asarray(refused, jnp.int32))
