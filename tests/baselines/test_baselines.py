"""Baselines learn the value of chains whose value is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.baselines import BASELINES, Samples
from pes_rl.baselines.quadratic import features

DISCOUNT, KEPT, NOISE = 0.9, 0.8, 0.3


def chain(key: jax.Array, death: float) -> Samples:
    """x' = .8 x + .3 noise, loss x'^2 + 1; it dies in a step with a given probability."""
    keys = jax.random.split(key, 3)
    start = jax.random.normal(keys[0], (200, 1))
    last = KEPT * start + NOISE * jax.random.normal(keys[1], (200, 1))
    dead = jax.random.uniform(keys[2], (200, 1)) < death
    weight = jnp.ones((200, 1)).at[:10].set(0)
    loss = jnp.where(weight > 0, last**2 + 1, 1e6)
    return Samples(start[:, None], loss, jnp.where(dead, 0, DISCOUNT), last, weight)


def value(x: np.ndarray, death: float) -> np.ndarray:
    """Of v = a + b x^2: b = k^2 (1 + g b), a = 1 + s^2 + g (a + b s^2), g the discount alive."""
    g = DISCOUNT * (1 - death)
    b = KEPT**2 / (1 - g * KEPT**2)
    return (1 + NOISE**2 * (1 + g * b)) / (1 - g) + b * x**2


@pytest.mark.parametrize("death", [0.0, 0.3])
@pytest.mark.parametrize("name", ["quadratic", "mlp"])
def test_the_value_of_a_chain_is_found(name, death):
    baseline = BASELINES[name]()
    state = baseline.init(jax.random.key(0), 1, jnp.float32)
    learn = jax.jit(baseline.learn)
    for i in range(600 if name == "mlp" else 100):
        state = learn(state, chain(jax.random.key(i), death))
    x = np.linspace(-1.5, 1.5, 7, dtype=np.float32)
    got = baseline.value(state, x[:, None])
    np.testing.assert_allclose(got, value(x, death), rtol=0.06 if name == "quadratic" else 0.15)


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_is_expected_before_anything_was_seen(name):
    baseline = BASELINES[name]()
    state = baseline.init(jax.random.key(0), 3, jnp.float32)
    np.testing.assert_array_equal(baseline.value(state, jnp.ones((2, 3))), 0)


def test_features_are_products_as_long_as_they_are_few():
    expected = [1, 2, 3, 5, 4, 6, 10, 9, 15, 25]
    np.testing.assert_array_equal(features(jnp.array([2.0, 3.0, 9.0])), expected)
    assert features(jnp.zeros(105)).size == 211
