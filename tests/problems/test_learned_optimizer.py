"""The learned optimiser: its network against NumPy, its inner task, and the experiment."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pes_rl.problems import check_problem
from pes_rl.problems.learned_optimizer import (
    CLOCKS,
    DECAYS,
    SQUARE_DECAY,
    Classifier,
    LearnedOptimizer,
    OptimizerNet,
    train,
)
from pes_rl.reproductions.classic_optimizers import (
    CEILING,
    CLASSICS,
    REPORTED,
    SELECTION,
    scorer,
    tune,
)

NET = OptimizerNet(4)


@pytest.fixture(scope="module")
def task() -> Classifier:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.normal(size=(60, 5)) + 2 * np.eye(3, 5)[labels]
    return Classifier(
        jnp.asarray(images, jnp.float32), jnp.asarray(labels), hidden=(4, 3), batch=8, classes=3
    )


@pytest.fixture(scope="module")
def theta():
    return jax.random.normal(jax.random.key(3), (NET.num_params,))


def in_numpy(theta, gradients, w):
    """The same optimiser, weight by weight: weights after every gradient."""
    H = NET.width
    sizes = np.cumsum([0, H * 6, H * 3, H, 2 * H, 2])
    parts = [np.asarray(theta[a:b], float) for a, b in itertools.pairwise(sizes)]
    features, clocks, bias, out, out_bias = parts
    momenta, square = np.zeros((3, w.size)), np.zeros(w.size)
    for t, g in enumerate(gradients, 1):
        momenta = np.array(DECAYS)[:, None] * momenta + (1 - np.array(DECAYS))[:, None] * g
        square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * g**2
        root = np.sqrt(square / (1 - SQUARE_DECAY**t)) + 1e-8
        new = np.empty_like(w)
        for i in range(w.size):
            seen = [g[i] / root[i], *(momenta[:, i] / root[i]), np.log(root[i]) / 8, w[i]]
            clock = np.tanh(t / np.array(CLOCKS))
            hidden = np.tanh(features.reshape(H, 6) @ seen + clocks.reshape(H, 3) @ clock + bias)
            direction, strength = out.reshape(2, H) @ hidden + out_bias
            new[i] = w[i] - 0.01 * direction * np.exp(strength)
        w = new
    return w


def follow(optimizer, gradients, w):
    state = optimizer.init(w)
    for g in gradients:
        update, state = optimizer.update(g, state, w)
        w = optax.apply_updates(w, update)
    return w


def test_the_network_is_what_it_says(theta):
    rng = np.random.default_rng(1)
    gradients, w = rng.normal(size=(3, 7)), rng.normal(size=7)
    moved = follow(NET.optimizer(theta), jnp.asarray(gradients, jnp.float32), jnp.asarray(w))
    np.testing.assert_allclose(moved, in_numpy(theta, gradients, w), rtol=1e-4, atol=1e-5)


def test_the_shape_of_the_weights_does_not_matter(theta):
    rng = np.random.default_rng(2)
    gradients, w = jnp.asarray(rng.normal(size=(2, 6))), jnp.asarray(rng.normal(size=6))
    flat = follow(NET.optimizer(theta), gradients, w)

    def tree(x):
        return {"matrix": x[:4].reshape(2, 2), "bias": x[4:]}

    moved = follow(NET.optimizer(theta), [tree(g) for g in gradients], tree(w))
    np.testing.assert_allclose(moved["matrix"].ravel(), flat[:4], rtol=1e-6)
    np.testing.assert_allclose(moved["bias"], flat[4:], rtol=1e-6)


def test_it_starts_by_doing_nothing():
    start = NET.initial_theta(jax.random.key(0))
    assert start.shape == (NET.num_params,) == (4 * 9 + 4 + 8 + 2,)
    w = jnp.ones(3)
    np.testing.assert_array_equal(follow(NET.optimizer(start), [w, 2 * w], w), w)
    assert np.ptp(start[:36]) > 1


def test_the_classifier_in_numpy(task):
    start = task.initial_weights(jax.random.key(1))
    assert [part.shape for part in start] == [(5, 4), (4,), (4, 3), (3,), (3, 3), (3,)]
    rng = np.random.default_rng(3)
    weights = [np.asarray(part, float) + rng.normal(size=part.shape) for part in start]
    a, b, c, d, e, f = weights
    x = np.tanh(np.asarray(task.images, float) @ a + b)
    x = np.tanh(x @ c + d) @ e + f
    wanted = np.mean(np.log(np.exp(x).sum(axis=1)) - x[np.arange(60), np.asarray(task.labels)])
    got = task.loss(tuple(map(jnp.float32, weights)), task.images, task.labels)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_batches_differ_and_average_to_the_whole(task):
    weights = task.initial_weights(jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), 2000)
    losses = jax.vmap(lambda key: task.batch_loss(key)(weights))(keys)
    assert len(np.unique(losses)) > 1000
    whole = task.loss(weights, task.images, task.labels)
    # Five standard errors: fails by chance once in a million.
    error = np.std(losses) / np.sqrt(len(losses))
    assert abs(np.mean(losses) - whole) < 5 * error


def test_steps_of_the_problem_are_steps_of_training(task, theta):
    problem = LearnedOptimizer(task, NET, ceiling=1e9)
    check_problem(problem, theta)
    weights_key, batch_key = jax.random.split(jax.random.key(5))
    carry, seen = problem.init(weights_key, theta), []
    for t in range(4):
        carry, out = problem.step(jax.random.fold_in(batch_key, t), theta, carry)
        seen.append(float(out.loss))
        assert not out.done
    losses, weights = train(task, NET.optimizer(theta), jax.random.key(5), 4)
    np.testing.assert_allclose(seen, losses, rtol=1e-5)
    for ours, theirs in zip(carry.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e9])
def test_a_blown_up_classifier_costs_the_ceiling(task, theta, broken):
    problem = LearnedOptimizer(task, NET, ceiling=5.0)
    carry = problem.init(jax.random.key(0), theta)
    carry = carry._replace(weights=(*carry.weights[:-1], jnp.array([broken, 0, 0])))
    assert problem.step(jax.random.key(1), theta, carry)[1].loss == 5.0


def test_adam_learns_the_task(task):
    losses, weights = train(task, optax.adam(0.03), jax.random.key(0), 300)
    assert losses.shape == (300,) and losses[-30:].mean() < 0.3 * losses[:10].mean()
    assert task.loss(weights, task.images, task.labels) < 0.3


def test_tuning_finds_the_best_rate(task):
    classic, rates = CLASSICS["sgd"], np.geomspace(1e-2, 10, 4)
    tuned = tune("sgd", task, 50, 4, 3)
    score = scorer(task, lambda rate: classic.make(rate, 50), 50)
    finals = [score([rate], SELECTION, 3).final.mean() for rate in rates]
    assert tuned.rate_final == rates[int(np.argmin(finals))]
    fresh = score([tuned.rate_final], REPORTED, 3)
    np.testing.assert_allclose(tuned.by_final.final, fresh.final, rtol=1e-4)
    assert not np.allclose(fresh.final, score([tuned.rate_final], SELECTION, 3).final)


def test_a_run_that_blows_up_counts_as_the_ceiling(task):
    scores = scorer(task, optax.sgd, 50)([1e30], 0, 2)
    np.testing.assert_array_equal(scores.final, CEILING)
    assert scores.curve.shape == (1, 50) and scores.curve.max() == CEILING
