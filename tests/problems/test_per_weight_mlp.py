"""The papers' learned optimiser, weight by weight against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.problems.flat import unpack
from pes_rl.problems.per_weight_mlp import CLOCKS, DECAYS, PerWeightMLP

NET = PerWeightMLP(width=3)


def in_numpy(theta, gradients, w):
    """One array [n, m] after every gradient."""
    a, a0, b, b0, c, c0 = (np.asarray(part, float) for part in unpack(theta, NET.shapes))
    momenta = np.zeros((len(DECAYS), *w.shape))
    for t, g in enumerate(gradients):
        for i, decay in enumerate(DECAYS):
            momenta[i] = decay * momenta[i] + (1 - decay) * g
        seen = np.array([g, w, *momenta])
        scale = np.sqrt((seen**2).mean(axis=(1, 2)) + 1e-5)
        clock = np.tanh(t / np.array(CLOCKS) - 1)
        moved = np.empty_like(w)
        for place in np.ndindex(w.shape):
            x = np.concatenate([seen[:, *place] / scale, clock])
            x = np.maximum(np.maximum(x @ a + a0, 0) @ b + b0, 0)
            direction, strength = x @ c + c0
            moved[place] = w[place] - 0.001 * direction * np.exp(0.001 * strength)
        w = moved
    return w


def test_the_network_is_what_it_says():
    theta = 3 * jax.random.normal(jax.random.key(1), (NET.num_params,))
    rng = np.random.default_rng(0)
    gradients, start = rng.normal(size=(3, 2, 4)), rng.normal(size=(2, 4))
    optimizer = jax.jit(NET.optimizer(theta).update)
    w = jnp.asarray(start, jnp.float32)
    state = NET.optimizer(theta).init((w,))
    for g in jnp.asarray(gradients, jnp.float32):
        (move,), state = optimizer((g,), state, (w,))
        w = w + move
    expected = in_numpy(theta, gradients, start)
    assert np.abs(expected - start).max() > 0.01
    np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)


def test_the_papers_size():
    assert PerWeightMLP().num_params == 19 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2
