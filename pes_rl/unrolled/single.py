"""N unperturbed particles of a differentiable problem, unrolled for one segment with gradients.

What distinguishes backpropagation, RTRL and UORO is what a particle remembers from one segment to
the next and how a segment's gradient is formed: a `Rule`. Restarts, clocks, random numbers and the
mean over particles, here, are the same for all of them, and the same as those of the pairs in
`pes_rl.particles.problem`: a particle that terminates is absorbing and restarts at a boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.estimators.core import first_limits
from pes_rl.particles.problem import stream_keys
from pes_rl.problems.protocol import Carry, Problem, check_problem
from pes_rl.unrolled.method import Method, Metrics

Array = jax.Array
_FOREVER = jnp.iinfo(jnp.int32).max


class Span(NamedTuple):
    """The random numbers and bounds of one particle's next segment of K steps.

    Attributes:
      restart: bool, whether an episode begins with it.
      reset_key: key of the start state.
      step_keys: [K] keys of the steps.
      noise_keys: [K] keys of the method's own noise.
      allowed: bool [K], steps before the particle's limit.
      ended: bool, whether the particle has terminated before.
    """

    restart: Array
    reset_key: Array
    step_keys: Array
    noise_keys: Array
    allowed: Array
    ended: Array


class Outcome(NamedTuple):
    """What one particle did: loss and steps summed over the segment, gradient [P], flags."""

    loss: Array
    steps: Array
    gradient: Array
    ended: Array
    invalid: Array


class Rule(NamedTuple):
    """A way to differentiate one particle.

    Attributes:
      init: ``(theta, carry) -> memory``, of the right shapes; its values are never used.
      segment: ``(theta, span, carry, memory) -> (carry, memory, Outcome)``.
    """

    init: Callable[[Array, Carry], Any]
    segment: Callable[[Array, Span, Carry, Any], tuple[Carry, Any, Outcome]]


class Singles(NamedTuple):
    """N particles: carries and memories [N, ...], ended bool [N], counters int32 [N]."""

    key: Array
    carry: Carry
    memory: Any
    ended: Array
    episodes: Array
    steps: Array


def begin(problem: Problem, rule: Rule, key: Any, theta: Array, num_particles: int) -> Singles:
    """Particles that have yet to be restarted."""
    check_problem(problem, theta)
    zeros = jnp.zeros(num_particles, jnp.int32)
    key = jax.random.key_data(key)
    carry = jax.vmap(problem.init, (0, None))(stream_keys(key, streams.RESET, zeros), theta)
    memory = jax.vmap(rule.init, (None, 0))(theta, carry)
    return Singles(key, carry, memory, jnp.zeros(num_particles, bool), zeros, zeros)


def unroll(
    rule: Rule, segment_length: int, theta: Array, restart: Array, limit: Array, state: Singles
) -> tuple[Outcome, Singles]:
    """One segment of up to ``limit`` [N] <= K steps; outcomes have a leading axis [N]."""
    j = jnp.arange(segment_length, dtype=jnp.int32)

    def keys(stream: int) -> Array:
        each = jax.vmap(lambda offset: stream_keys(state.key, stream, state.steps + offset))
        return jnp.swapaxes(each(j), 0, 1)

    span = Span(
        restart,
        stream_keys(state.key, streams.RESET, state.episodes),
        keys(streams.ENVIRONMENT),
        keys(streams.NOISE),
        j < limit[:, None],
        state.ended & ~restart,
    )
    segment = jax.vmap(rule.segment, (None, 0, 0, 0))
    carry, memory, outcome = segment(theta, span, state.carry, state.memory)
    invalid = outcome.invalid | ~jnp.isfinite(outcome.gradient).all(axis=1)
    outcome = outcome._replace(
        gradient=jnp.where(invalid[:, None], 0, outcome.gradient), invalid=invalid
    )
    return outcome, Singles(
        state.key,
        carry,
        memory,
        outcome.ended,
        state.episodes + restart.astype(jnp.int32),
        state.steps + segment_length,
    )


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
    full_length = _FOREVER if horizon is None else horizon
    if not 0 < segment_length <= full_length:
        raise ValueError(f"segment_length must be in 1..{horizon}, not {segment_length}")

    def init(key: Any, theta: Array):
        limit = jnp.full(num_particles, full_length, jnp.int32)
        if staggered and horizon is not None:
            stagger_key = jax.random.fold_in(key, streams.STAGGER)
            limit = first_limits(stagger_key, num_particles, segment_length, horizon)
        clock = jnp.zeros(num_particles, jnp.int32)
        return clock, limit, begin(problem, rule, key, theta, num_particles)

    def estimate(theta: Array, state: Any):
        clock, limit, singles = state
        span = jnp.minimum(segment_length, limit - clock)
        outcome, singles = unroll(rule, segment_length, theta, clock == 0, span, singles)
        clock = clock + span
        over = outcome.ended | outcome.invalid | (clock >= limit)
        state = jnp.where(over, 0, clock), jnp.where(over, full_length, limit), singles
        metrics = Metrics(
            outcome.loss.sum(),
            outcome.steps.sum(dtype=jnp.int32),
            outcome.invalid.sum(dtype=jnp.int32),
        )
        return outcome.gradient.mean(axis=0), state, metrics

    return Method(init, estimate)


def either(flag: Array, new: Any, old: Any) -> Any:
    """One of two trees, by a scalar flag."""
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)
