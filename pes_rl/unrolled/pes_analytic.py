"""PES with the analytic gradient as control variate (Vicol, Metz and Sohl-Dickstein 2021).

PES weighs a segment's loss by xi = xi_before + eps: the noise of earlier segments and its own. The
term of its own noise estimates the derivative through the segment itself, which backpropagation
gives without noise: call it p, taken on one unperturbed particle that accompanies each pair. So

    g = 1 / (2 sigma N) sum_i xi_before_i (L_i+ - L_i- - 2 sigma eps_i . p_i) + 1/N sum_i p_i

where subtracting eps . p, which is independent of xi_before, takes out noise and no signal.
Unbiased for quadratic losses and linear dynamics; elsewhere p stands for the smoothed loss's
derivative at the perturbed particles, and the difference vanishes with sigma. Where a member ends
before its twin or its centre the centre speaks for steps that were not made: a further bias.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.estimators import pes
from pes_rl.particles.problem import lift, not_begun
from pes_rl.problems.protocol import Problem
from pes_rl.unrolled.method import Method, totals
from pes_rl.unrolled.single import differentiate
from pes_rl.unrolled.truncated_bptt import backpropagation_rule

Array = jax.Array


def pes_analytic(
    problem: Problem,
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    *,
    staggered: bool = True,
) -> Method:
    """PES whose own-segment term is backpropagated: less noise, and a third particle per pair."""
    estimator = pes(num_pairs, perturb_std, segment_length, horizon, staggered=staggered)
    runner = lift(problem, num_pairs, segment_length, perturb_std)
    rule = backpropagation_rule(problem, segment_length)

    def init(key: Any, theta: Array):
        noise_key, problem_key = jax.random.split(key)
        # One key for pairs and centres: a centre meets the same random numbers as its pair.
        return (
            estimator.init(noise_key, theta),
            runner.init(problem_key, theta),
            not_begun(problem_key, rule.init(problem_key, theta), (num_pairs,)),
        )

    def estimate(theta: Array, state: Any):
        inner, particles, centres = state
        plan, inner = estimator.perturb(inner)
        segment, particles = runner.unroll(theta, plan, particles)
        slope, centre, centres = differentiate(rule, theta, plan.restart, plan.step_limit, centres)
        expected = perturb_std * (plan.noise * slope).sum(axis=1)
        loss = segment.loss - jnp.stack([expected, -expected], axis=1)
        # A centre without a gradient takes its pair with it.
        invalid = jnp.logical_or(segment.invalid, centre.invalid[:, None])
        live = (segment.steps > 0) & ~invalid.any(axis=1, keepdims=True)
        reduced = segment._replace(loss=jnp.where(live, loss, 0), invalid=invalid)
        gradient, after, info = estimator.gradient(inner, reduced)
        difference = reduced.loss[:, 0] - reduced.loss[:, 1]
        own = difference @ plan.noise / (2 * perturb_std * num_pairs)
        kept = jnp.where(live.any(axis=1)[:, None], slope, 0)
        metrics = totals(segment, info.invalid_particles)
        metrics = metrics._replace(steps=metrics.steps + centre.steps.sum(dtype=jnp.int32))
        return gradient - own + kept.mean(axis=0), (after, particles, centres), metrics

    return Method(init, estimate)
