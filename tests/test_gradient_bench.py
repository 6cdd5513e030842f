"""The benches of gradients ask any policy that `pes-rl train` trains."""

from __future__ import annotations

import numpy as np

from benchmarks.disturbed import STEP, Field, disturb
from benchmarks.gradient import Frozen, gradients
from pes_rl import load_policy
from pes_rl.policies.normalizer import Affine


def test_gradients_of_a_policy_that_gets_part_of_an_observation():
    options = {"env": "Swimmer", "num_inputs": 3, "estimator": "es-single", "num_pairs": 2}
    options |= {"segment_length": 5, "horizon": 10, "num_threads": 1}
    frozen = Frozen(np.zeros(2 * 3), Affine.identity(3), 0, None)
    found = gradients(frozen, options, batch=20, batches=3, warmup=0)
    assert found.shape == (3, 6) and np.isfinite(found).all() and found.any(axis=1).all()


def test_a_policy_disturbed_and_moved_along_the_gradient(monkeypatch):
    """Of a field whose returns are linear in theta the steps are known."""
    policy = load_policy("zoo/InvertedPendulum")
    field = Field(policy, 2, 0)
    returns, live = field.play(np.tile(policy.theta, (2, 2, 1)))
    assert (returns == 1000).all() and live.all()  # 1 for every env step that it balances
    returns, live = field.play(np.zeros((2, 2, policy.theta.size)))
    assert (returns < 100).all() and not live.any()
    slope, center = np.arange(1.0, 1 + policy.theta.size), policy.theta.astype(float)
    monkeypatch.setattr(field, "play", lambda theta: (theta @ slope, np.full((2, 2), True)))
    found = disturb(field, 0.1, np.random.default_rng(0))
    assert found.live == 1 and np.isclose(found.members.mean(), center @ slope)
    noise = np.random.default_rng(0).standard_normal((2, slope.size))
    gradient = noise.T @ (noise @ slope)
    rise = STEP * 0.1 * slope.size**0.5 * gradient @ slope / np.linalg.norm(gradient)
    np.testing.assert_allclose(found.up, center @ slope + rise)
    np.testing.assert_allclose(found.down, center @ slope - rise)
    monkeypatch.setattr(field, "play", lambda theta: (np.ones((2, 2)), np.full((2, 2), True)))
    assert (disturb(field, 0.1, np.random.default_rng(0)).up == 1).all()  # nowhere to go
