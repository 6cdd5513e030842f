"""Expectations and variances of the estimators, against closed forms and quadrature.

Every expectation is that of one pair's contributions summed over whole episodes, a fixed number of
them per pair, at fixed theta. (A fixed number of updates would weigh early phases more.)

Chance of failure: a mean may be off by as many measured standard errors as a normal variable
exceeds with probability 1e-6 / 100; with fewer than 100 comparisons in this file, a correct
implementation fails with probability below 1e-6. Keys are fixed, so it fails always or never.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.tools.toy_problems import (
    LinearQuadratic,
    LinearSegments,
    Mortal,
    build,
    episode_gradients,
)

BOUND = stats.norm.isf(1e-6 / 100 / 2)  # in standard errors: 5.7
PRECISION = 0.015  # demanded of the standard error, relative to the gradient's norm


def mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))


def assert_mean(samples: np.ndarray, expected: np.ndarray) -> None:
    """The mean is the expected one, and measured well enough for that to mean something."""
    mean, error = mean_and_error(samples)
    assert error.max() < PRECISION * np.linalg.norm(expected)
    offset = np.abs(mean - expected) / error
    assert offset.max() < BOUND, f"{mean} +- {error}, expected {expected}: {offset} errors away"


# Linear-quadratic problem. For quadratic losses the smoothed gradient is the true one.

LQ_HORIZON, LQ_PAIRS, LQ_REPLICAS = 8, 4, 30_000
LQ_CASES = [
    ("es", 8, None),
    ("es-single", 2, None),
    ("es-single", 3, None),  # 3 does not divide 8
    ("pes", 2, None),
    ("pes", 3, None),
    ("gpes", 2, 4),
    ("gpes", 2, 6),
    ("truncated-es", 2, None),
    ("truncated-es", 3, None),
]


def linear_quadratic_samples(name: str, K: int, period: int | None) -> np.ndarray:
    """Two episodes per pair, so that what happens at restarts is part of the expectation."""
    problem = LinearQuadratic()
    estimator = build(name, LQ_PAIRS, K, LQ_HORIZON, period)
    theta = jnp.asarray(problem.theta, jnp.float32)
    updates = 2 * -(-LQ_HORIZON // K)
    return episode_gradients(estimator, problem, LQ_PAIRS, theta, 0, LQ_REPLICAS, 2, updates)


def test_closed_forms_of_the_linear_quadratic_problem():
    """The closed form itself, against central differences of the total loss."""
    problem = LinearQuadratic()

    def total(theta):
        x, loss = problem.start_mean, 0.0
        for _ in range(LQ_HORIZON):
            x = problem.A @ x + problem.B @ theta
            loss += 0.5 * x @ problem.Q @ x + problem.q @ x
        return loss

    axes = np.eye(3) * 1e-3  # differences are exact for a quadratic
    numeric = [(total(problem.theta + e) - total(problem.theta - e)) / 2e-3 for e in axes]
    np.testing.assert_allclose(problem.gradient(LQ_HORIZON, LQ_HORIZON), numeric, rtol=1e-9)


@pytest.mark.parametrize("name,K,period", LQ_CASES)
def test_linear_quadratic_gradient(name, K, period):
    problem = LinearQuadratic()
    true = problem.gradient(LQ_HORIZON, LQ_HORIZON)
    samples = linear_quadratic_samples(name, K, period)
    if name != "truncated-es":
        assert_mean(samples, true)
        return
    assert_mean(samples, problem.gradient(K, LQ_HORIZON))
    mean, error = mean_and_error(samples)
    assert (np.abs(mean - true) / error).max() > 10 * BOUND, "the bias should be plain to see"


# Episodes that end early, members of a pair at different steps, lengths depending on theta.

MORTAL_HORIZON, MORTAL_REPLICAS = 7, 150_000
MORTAL_SIGMA = 0.3
MORTAL_CASES = [
    ("es", 7, None),
    ("es-single", 1, None),
    ("es-single", 3, None),  # 3 does not divide 7
    ("pes", 2, None),
    ("pes", 3, None),
    ("gpes", 1, 3),
    ("gpes", 2, 4),
    ("truncated-es", 3, None),
]


def smoothed_gradient(name: str, K: int, period: int | None, nodes: int = 24) -> np.ndarray:
    """Gradient of the smoothed loss: E[sum_k weight_k L_k] / sigma by Gauss-Hermite quadrature.

    The weight of segment k's loss is, for the unbiased ones, the sum of all draws of the episode:
    those after segment k average out.
    """
    segments = -(-MORTAL_HORIZON // K)
    hold = {"es": segments, "es-single": segments, "gpes": (period or K) // K}.get(name, 1)
    draw_of = np.arange(segments) // hold
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    draws = np.stack(np.meshgrid(*[points] * (draw_of[-1] + 1), indexing="ij"))
    chance = np.prod(np.stack(np.meshgrid(*[weights] * len(draws), indexing="ij")), axis=0)
    eps = draws[draw_of]
    losses = Mortal().mean_segment_losses(Mortal.theta + MORTAL_SIGMA * eps, K, MORTAL_HORIZON)
    credited = eps * losses if name == "truncated-es" else draws.sum(0) * losses.sum(0)
    return np.array([(chance * credited).sum() / MORTAL_SIGMA])


@pytest.mark.parametrize("name,K,period", MORTAL_CASES)
def test_gradient_with_early_termination(name, K, period):
    expected = smoothed_gradient(name, K, period)
    coarser = smoothed_gradient(name, K, period, nodes=16)
    np.testing.assert_allclose(coarser, expected, rtol=1e-4, err_msg="quadrature")
    estimator = build(name, 1, K, MORTAL_HORIZON, period, perturb_std=MORTAL_SIGMA)
    updates = 2 * -(-MORTAL_HORIZON // K)
    theta = jnp.asarray(Mortal.theta, jnp.float32)
    samples = episode_gradients(estimator, Mortal(), 1, theta, 1, MORTAL_REPLICAS, 2, updates)
    assert_mean(samples, expected)


# Variances, where segment k's loss is linear in segment k's own parameters.

VARIANCE_REPLICAS, SEGMENTS, P = 100_000, 4, 5
EQUAL = np.tile([0.5, -1.0, 0.3, 0.8, 0.2], (SEGMENTS, 1))
INDEPENDENT = np.random.default_rng(0).normal(size=(SEGMENTS, P))


@pytest.mark.parametrize("name", ["es-single", "pes"])
@pytest.mark.parametrize("gradients", [EQUAL, INDEPENDENT], ids=["equal", "independent"])
def test_variance_of_an_episode(name, gradients):
    """ES-Single: (P + 1) |g|^2 whatever the number of segments; PES: sum_k (k P + 1) |c_k|^2."""
    K = 2
    problem = LinearSegments(gradients, K)
    samples = episode_gradients(
        build(name, 1, K, SEGMENTS * K), problem, 1, jnp.zeros(P), 2, VARIANCE_REPLICAS, 1, SEGMENTS
    )
    total = gradients.sum(0)
    k = np.arange(1, SEGMENTS + 1)
    expected = {
        "es-single": (P + 1) * total @ total,
        "pes": ((k * P + 1) * (gradients**2).sum(1)).sum(),
    }[name]
    assert samples.var(0, ddof=1).sum() == pytest.approx(expected, rel=0.05)
    # The same for every sigma and common to both settings: unbiased.
    mean, error = mean_and_error(samples)
    assert (np.abs(mean - total) / error).max() < BOUND
