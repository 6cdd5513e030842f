"""Hyperparameter problems: one training step by hand, the mappings of theta, telescoping, ridge."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.problems import Step, check_problem
from pes_rl.problems.datasets import Images
from pes_rl.problems.hyperparameters import Settings, Tuning, many, rate_and_decay
from pes_rl.problems.hyperparameters_ridge import Ridge, ridge
from pes_rl.problems.telescoping import Telescoping
from pes_rl.reproductions import tuning
from pes_rl.reproductions.tuning import Task, random_search, trainings

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
# One image only, so that every minibatch is known.
ONE = Images(RNG.uniform(size=(1, 5)).astype(np.float32), np.array([3], np.int32))


def constant(**values):
    return lambda theta, t: Settings(**{"rate": jnp.exp(theta[0]), **values})


def by_layer(problem, weights):
    return [[np.asarray(part, float) for part in layer] for layer in problem.layers(weights)]


def probabilities(weights, x):
    (A, a), (B, b) = weights
    hidden = np.tanh(x @ A + a)
    scores = hidden @ B + b
    return hidden, np.exp(scores) / np.exp(scores).sum()


def test_a_step_is_momentum_descent_with_l2_and_smoothing():
    settings = constant(momentum=0.7, shrinkage=jnp.array([0.1, 0.3]), smoothing=0.2)
    problem = Tuning(settings, ONE, ONE, hidden=(4,), batch=3)
    theta = jnp.array([-1.0])
    carry = problem.init(KEY, theta)
    weights = by_layer(problem, carry.weights)
    velocity = [[np.zeros_like(part) for part in layer] for layer in weights]
    x, target = ONE.images[0].astype(float), 0.8 * np.eye(10)[3] + 0.2 / 10
    for _ in range(3):
        hidden, p = probabilities(weights, x)
        carry, out = problem.step(KEY, theta, carry)
        np.testing.assert_allclose(out.loss, -np.log(p[3]), rtol=1e-5)
        slope = p - target
        back = (weights[1][0] @ slope) * (1 - hidden**2)
        slopes = [[np.outer(x, back), back], [np.outer(hidden, slope), slope]]
        for i, l2 in enumerate((0.1, 0.3)):
            slopes[i][0] = slopes[i][0] + l2 * weights[i][0]
            for j in range(2):
                velocity[i][j] = 0.7 * velocity[i][j] + slopes[i][j]
                weights[i][j] = weights[i][j] - np.exp(-1.0) * velocity[i][j]
    for got, expected in zip(by_layer(problem, carry.weights), weights, strict=True):
        for j in range(2):
            np.testing.assert_allclose(got[j], expected[j], atol=1e-5)
    assert carry.t == 3


@pytest.mark.parametrize("objective", ["validation-loss", "validation-error", "current-loss"])
def test_objectives_judge_the_updated_weights(objective):
    other = Images(ONE.images[:, ::-1].copy(), np.array([7], np.int32))
    problem = Tuning(constant(), ONE, other, objective=objective, hidden=(4,), judged=1)
    carry, out = problem.step(KEY, jnp.array([1.0]), problem.init(KEY, jnp.array([1.0])))
    weights = by_layer(problem, carry.weights)
    data = ONE if objective == "current-loss" else other
    p = probabilities(weights, data.images[0])[1]
    error = float(p.argmax() != 7)
    expected = error if objective == "validation-error" else -np.log(p[data.labels[0]])
    np.testing.assert_allclose(out.loss, expected, rtol=1e-4)


def test_a_diverging_training_stays_finite():
    data = Images(RNG.uniform(size=(20, 5)).astype(np.float32), np.arange(20, dtype=np.int32) % 10)
    problem = Tuning(constant(), data, data, objective="validation-loss", hidden=(4,))
    theta = jnp.array([20.0])
    carry = problem.init(KEY, theta)
    check_problem(problem, theta)
    for step in range(4):
        carry, out = problem.step(jax.random.fold_in(KEY, step), theta, carry)
        assert np.isfinite(out.loss) and out.loss <= 10
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(carry))


def test_rate_and_decay():
    settings = rate_and_decay(100)
    theta = jnp.log(jnp.array([0.3, 2.0]))
    for t, rate in ((0, 0.3), (100, 0.3 / 4), (300, 0.3 / 16)):
        np.testing.assert_allclose(settings(theta, jnp.int32(t)).rate, rate, rtol=1e-5)


def test_many_are_29_and_each_counts():
    settings = many(4, 100)

    def flat(theta):
        leaves = jax.tree.leaves(settings(theta, jnp.int32(50)))
        return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])

    theta = jnp.linspace(-1.0, 1.0, 29)
    slopes = jax.jacobian(flat)(theta)
    assert slopes.shape == (8 + 8 + 4 + 1, 29)
    assert (np.abs(np.asarray(slopes)).sum(axis=0) > 0).all()
    out = settings(theta, jnp.int32(50))
    np.testing.assert_allclose(out.rate[1, 0], np.exp(theta[2] - theta[18] / 2), rtol=1e-5)
    np.testing.assert_allclose(out.momentum[3, 1], 1 / (1 + np.exp(-theta[15])), rtol=1e-5)
    np.testing.assert_allclose(out.shrinkage[2], np.exp(theta[26]), rtol=1e-5)


class Walk(NamedTuple):
    x: jax.Array
    t: jax.Array


class Wanderer:
    """Losses in eighths, so that sums of floats are exact."""

    def init(self, key, theta):
        return Walk(theta[0], jnp.zeros((), jnp.int32))

    def step(self, key, theta, carry):
        x = carry.x + jax.random.randint(jax.random.fold_in(key, carry.t), (), -9, 10) / 8
        return Walk(x, carry.t + 1), Step(x * x, carry.t == 5)


def test_telescoping_adds_up_to_the_last_loss_exactly():
    theta, plain = jnp.array([0.5]), Wanderer()
    problem = Telescoping(plain)
    check_problem(problem, theta)
    carry, inner, total = problem.init(KEY, theta), plain.init(KEY, theta), 0.0
    for t in range(6):
        carry, out = problem.step(KEY, theta, carry)
        inner, expected = plain.step(KEY, theta, inner)
        total += float(out.loss)
        assert total == float(expected.loss)
        assert bool(out.done) == (t == 5)


def make_ridge() -> Ridge:
    X = RNG.normal(size=(60, 5)) @ np.diag([2.0, 1.5, 1.0, 0.8, 0.6])
    y = X @ np.array([1.0, 0.0, -1.0, 0.5, 0.0]) + 2 * RNG.normal(size=60)
    return ridge(X, y, train=12)


@pytest.mark.parametrize("theta", [-4.0, 0.0, 8.0])
def test_ridge_rests_at_its_closed_form(theta):
    problem = make_ridge()

    def step(w, _):
        w, out = problem.step(KEY, jnp.array([theta]), w)
        return w, out.loss

    losses = jax.lax.scan(step, problem.init(KEY, jnp.array([theta])), length=3000)[1]
    np.testing.assert_allclose(losses[-1], problem.at_rest(np.array([theta]))[0], rtol=1e-4)
    gram = problem.X.T @ problem.X / 12 + np.exp(theta) * np.eye(5)
    w = np.linalg.inv(gram) @ problem.X.T @ problem.y / 12
    expected = ((problem.X_held_out @ w - problem.y_held_out) ** 2).mean()
    np.testing.assert_allclose(problem.at_rest(np.array([theta]))[0], expected, rtol=1e-10)


def test_ridge_optimum():
    problem = make_ridge()
    best = problem.optimum()
    losses = problem.at_rest(np.array([best - 0.01, best, best + 0.01]))
    assert losses.argmin() == 1


class Bowl:
    """Loss (theta - 0.25)^2 plus the step number."""

    def init(self, key, theta):
        return jnp.zeros((), theta.dtype)

    def step(self, key, theta, t):
        return t + 1, Step((theta[0] - 0.25) ** 2 + t, False)


def test_random_search_spends_the_budget_and_keeps_the_best(monkeypatch):
    task = Task(Bowl(), 4, 2, 3, 0.1, 0.01, 50, (0.0,), (-1.0,), (1.0,))
    assert task.budget == 600
    run, sizes = trainings(task.problem, 4), []

    def counted(thetas, seeds):
        sizes.append(thetas.shape)
        return run(thetas, seeds)

    monkeypatch.setattr(tuning, "trainings", lambda problem, horizon: counted)
    best = random_search(task, [0, 1])
    assert sizes == [(150, 1)] * 2 and best.shape == (2, 1)
    assert (np.abs(best - 0.25) < 0.05).all()
    np.testing.assert_allclose(run(np.array([[1.25]]), [0, 1]), [[1 + 1.5] * 2])
    telescoped = trainings(Telescoping(Bowl()), 4)
    np.testing.assert_allclose(telescoped(np.array([[1.25]]), [0]), [[1 + 3]])
