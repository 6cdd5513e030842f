"""What segments are charged with: unbiased whatever the baseline says, and of lower variance.

Expectations are over whole episodes at fixed theta. A mean may be off by as many measured standard
errors as a normal variable exceeds with probability 1e-8; keys are fixed, so a test fails always or
never.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pes_rl.estimators import ALL_HERE, Segment
from pes_rl.particles.problem import lift
from pes_rl.particles.rollout import Rollout, Spacing, Waypoints
from pes_rl.policies.normalizer import Affine
from pes_rl.training.credit import make_credit, samples_of
from pes_rl.training.host import HostTrainer
from pes_rl.training.update import configured_estimator
from tests.tools.toy_environment import PointMassSimulator, configure
from tests.tools.toy_problems import LinearQuadratic

PROBLEM = LinearQuadratic()
LENGTH, HORIZON, PAIRS, REPLICAS = 2, 8, 4, 10_000
BOUND = stats.norm.isf(1e-8 / 2)  # in standard errors: 5.7
Weights = Callable[[int, jax.Array], jax.Array]


@functools.cache
def gradients(weights: Weights, **fields: Any) -> np.ndarray:
    """Gradients [REPLICAS, P] of an episode that ends, by death, after HORIZON steps.

    The quadratic baseline's weights for segment k are ``weights(k, what it has learned)``.
    """
    config = configure(
        "pes",
        baseline="quadratic",
        num_pairs=PAIRS,
        segment_length=LENGTH,
        horizon=HORIZON,
        perturb_std=0.3,
        staggered=False,
        **fields,
    )
    theta = jnp.asarray(PROBLEM.theta, jnp.float32)
    estimator, credit = configured_estimator(config), make_credit(config, 2, ALL_HERE)
    begin, unroll = lift(PROBLEM, PAIRS, LENGTH, config.perturb_std)
    norm = Affine(jnp.zeros(2), jnp.ones(2), jnp.inf)

    def episode(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 3)
        state, particles = estimator.init(keys[0], theta), begin(keys[1], theta)
        expected, total = credit.init(keys[2], theta), jnp.zeros_like(theta)
        for k in range(HORIZON // LENGTH):
            plan, state = estimator.perturb(state)
            start = particles.carry if k else jnp.zeros_like(particles.carry)
            segment, particles = unroll(theta, plan, particles)
            last = k == HORIZON // LENGTH - 1
            segment = segment._replace(ended=jnp.full((PAIRS, 2), last))
            way = Waypoints(jnp.stack((start, particles.carry), axis=2), segment.loss[..., None])
            rollout = Rollout(segment, jnp.zeros((PAIRS, 0)), jnp.zeros((PAIRS, 0)), way)
            inner = expected.baseline
            inner = inner._replace(weight=weights(k, inner.weight))
            charged, expected = credit.charge(
                expected._replace(baseline=inner), plan, rollout, norm
            )
            gradient, state, _ = estimator.gradient(state, charged)
            total = total + gradient
        return total

    keys = jax.random.split(jax.random.key(1), REPLICAS)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(episode, keys))(keys))


def learned(k: int, weight: jax.Array) -> jax.Array:
    """What it has learned of the episode so far; bounded, for few samples may say anything."""
    return 3 * weight / (1 + jnp.linalg.norm(weight))


def arbitrary(k: int, weight: jax.Array) -> jax.Array:
    """Something else at every segment, of the size of the true value."""
    return jnp.asarray(np.random.default_rng(k).normal(size=6), jnp.float32)


def true(k: int, weight: jax.Array) -> jax.Array:
    """The loss to go after segment k, under theta without noise."""
    A, B, Q, q = PROBLEM.A, PROBLEM.B @ PROBLEM.theta, PROBLEM.Q, PROBLEM.q
    matrix, vector, scalar = np.zeros((2, 2)), np.zeros(2), 0.0
    for _ in range(HORIZON - LENGTH * (k + 1)):
        matrix, vector = matrix + Q, vector + q  # the cost of the state that is reached
        scalar = scalar + 0.5 * B @ matrix @ B + vector @ B
        vector = A.T @ (matrix @ B + vector)
        matrix = A.T @ matrix @ A
    products = [0.5 * matrix[0, 0], matrix[0, 1], 0.5 * matrix[1, 1]]
    return jnp.asarray([scalar, *vector, *products], jnp.float32)


def nothing(k: int, weight: jax.Array) -> jax.Array:
    """No expectation."""
    return jnp.zeros(6)


@pytest.mark.parametrize("weights", [nothing, learned, arbitrary, true])
def test_the_mean_is_the_gradient_whatever_the_baseline_says(weights):
    samples, expected = gradients(weights), PROBLEM.gradient(HORIZON, HORIZON)
    error = samples.std(axis=0, ddof=1) / np.sqrt(REPLICAS)
    assert error.max() < 0.04 * np.linalg.norm(expected)
    assert (np.abs(samples.mean(axis=0) - expected) / error).max() < BOUND


def test_a_good_baseline_lowers_the_variance():
    plain, better = (gradients(w).var(axis=0).sum() for w in (nothing, true))
    assert better < 0.87 * plain  # the floor, (P + 1) times a squared gradient, is near


def test_discount_and_decay_trade_bias_for_variance():
    plain, faded = gradients(nothing), gradients(nothing, discount=0.9, trace_decay=0.5)
    assert faded.var(axis=0).sum() < 0.5 * plain.var(axis=0).sum()
    assert np.linalg.norm(faded.mean(axis=0) - PROBLEM.gradient(HORIZON, HORIZON)) > 0.1


def trained(name: str, **fields: Any) -> np.ndarray:
    trainer = HostTrainer(
        configure(name, **fields), make_simulator=lambda n, threads: PointMassSimulator(n)
    )
    for _ in range(8):
        trainer.advance()
    return trainer.theta


def test_a_decay_of_zero_is_truncated_es_to_the_bit():
    np.testing.assert_array_equal(trained("pes", trace_decay=0.0), trained("truncated-es"))


def test_what_a_segment_teaches():
    """Two members over 7 env steps, looked at every 3: one dies at its fifth, one lives."""
    spacing = Spacing(3, 3, 0.5)
    loss = np.array([[[7.0, 2.0, 0.0], [4.0, 8.0, 16.0]]], np.float32)
    segment = Segment(
        np.zeros((1, 2)), np.array([[5, 7]]), np.array([[True, False]]), np.zeros((1, 2), bool)
    )
    inputs = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
    got = samples_of(spacing, segment, Waypoints(inputs, loss), jnp.asarray(inputs))
    np.testing.assert_array_equal(got.weight, [[[1, 1, 0], [1, 1, 1]]])
    np.testing.assert_array_equal(got.loss, [[[7 + 2 / 8, 2, 0], [4 + 1 + 0.25, 8 + 2, 16]]])
    np.testing.assert_array_equal(got.discount, [[[0, 0, 0], [2.0**-7, 2.0**-4, 0.5]]])
    np.testing.assert_array_equal(got.inputs[..., 0], [[[0, 1, 2], [4, 5, 6]]])
    np.testing.assert_array_equal(got.last[..., 0], [[3, 7]])


def test_of_broken_pairs_nothing_is_learned():
    spacing = Spacing(1, 3, 0.5)
    loss, ended = np.ones((1, 2, 1), np.float32), np.array([[True, False]])
    segment = Segment(np.zeros((1, 2)), np.array([[2, 3]]), ended, ended)
    inputs = np.zeros((1, 2, 2, 1), np.float32)
    got = samples_of(spacing, segment, Waypoints(inputs, loss), jnp.asarray(inputs))
    assert not (np.any(got.weight) or np.any(got.loss) or np.any(got.discount))
