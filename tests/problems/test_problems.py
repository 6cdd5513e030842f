"""The problem protocol: the documented example, what a malformed problem is told, the problems."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pes_rl.errors import UserError
from pes_rl.estimators import es_single
from pes_rl.problems import Step, check_problem
from pes_rl.problems.char_lstm import CharLSTM
from pes_rl.problems.influence_balancing import InfluenceBalancing
from pes_rl.problems.linear import LinearSegments, Tracking
from pes_rl.problems.text import python_manual
from pes_rl.problems.toy_regression import ToyRegression, height
from pes_rl.unrolled import evolution, minimize, rtrl

DOCS = Path(__file__).parents[2] / "docs" / "problems.md"
THETA = jnp.zeros(2)


def test_the_documented_example_runs_and_learns():
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
    assert len(code.splitlines()) < 40
    names: dict = {"print": lambda *values: None, "__name__": "example"}
    exec(compile(code, str(DOCS), "exec"), names)
    history = names["history"]
    assert history.theta.shape == (3, 101, 3)
    assert (history.loss[:, -1] < 0.5 * history.loss[:, 1]).all()
    assert (history.invalid == 0).all()


class Good:
    """Correct; the cases below break one thing each."""

    def init(self, key, theta):
        return {"x": jnp.zeros(2), "n": jnp.zeros((), jnp.int32)}

    def step(self, key, theta, carry):
        return {"x": carry["x"] + theta, "n": carry["n"] + 1}, Step(carry["x"].sum(), False)


class WiderCarry(Good):
    def step(self, key, theta, carry):
        carry, out = super().step(key, theta, carry)
        return {**carry, "x": jnp.zeros(3)}, out


class FloatCounter(Good):
    def step(self, key, theta, carry):
        carry, out = super().step(key, theta, carry)
        return {**carry, "n": carry["n"] + 0.5}, out


class OtherCarry(Good):
    def step(self, key, theta, carry):
        carry, out = super().step(key, theta, carry)
        return (carry["x"], carry["n"]), out


class VectorLoss(Good):
    def step(self, key, theta, carry):
        return carry, Step(carry["x"], False)


class IntegerLoss(Good):
    def step(self, key, theta, carry):
        return carry, Step(carry["n"], False)


class NoLoss(Good):
    def step(self, key, theta, carry):
        return carry, Step(None, False)


class FloatDone(Good):
    def step(self, key, theta, carry):
        return carry, Step(carry["x"][0], carry["x"][0])


class VectorDone(Good):
    def step(self, key, theta, carry):
        return carry, Step(carry["x"][0], carry["x"] > 0)


class NoStep(Good):
    def step(self, key, theta, carry):
        return carry, carry["x"].sum()


class OnlyCarry(Good):
    def step(self, key, theta, carry):
        return carry


class NoInit:
    step = Good.step


MALFORMED = [
    (
        WiderCarry,
        r"WiderCarry.step returns carry\['x'\] as float32\[3\].*init made it float32\[2\]",
    ),
    (
        FloatCounter,
        r"FloatCounter.step returns carry\['n'\] as float32\[\].*init made it int32\[\]",
    ),
    (OtherCarry, r"OtherCarry.step returns the carry .*return the same structure"),
    (VectorLoss, r"VectorLoss.step returns Step.loss as float32\[2\], not a scalar"),
    (IntegerLoss, r"IntegerLoss.step returns Step.loss as int32\[\], not a floating number"),
    (NoLoss, r"NoLoss.step returns Step.loss as a NoneType, not a scalar"),
    (FloatDone, r"FloatDone.step returns Step.done as float32\[\], not boolean"),
    (VectorDone, r"VectorDone.step returns Step.done as bool\[2\], not a scalar"),
    (NoStep, r"NoStep.step returns a tuple of dict, .*; return \(carry, Step\(loss, done\)\)"),
    (OnlyCarry, r"OnlyCarry.step returns a dict; return \(carry, Step\(loss, done\)\)"),
    (NoInit, "NoInit has no function 'init'"),
]


def test_a_correct_problem_passes():
    check_problem(Good(), THETA)


@pytest.mark.parametrize(("problem", "message"), MALFORMED)
def test_a_malformed_problem_is_told_function_and_field(problem, message):
    with pytest.raises(UserError, match=message):
        check_problem(problem(), THETA)


@pytest.mark.parametrize(
    "make", [lambda p: evolution(p, es_single(2, 0.1, 1, 4)), lambda p: rtrl(p, 1, 4)]
)
def test_the_loop_checks_the_problem(make):
    with pytest.raises(UserError, match=r"VectorLoss.step returns Step.loss"):
        minimize(make(VectorLoss()), optax.sgd(0.1), THETA, [0], 1)


def roll(problem, theta, steps: int):
    def step(carry, _):
        carry, out = problem.step(jax.random.key(0), theta, carry)
        return carry, out.loss

    return jax.lax.scan(step, problem.init(jax.random.key(0), theta), length=steps)


def test_influence_balancing_settles_where_theory_says():
    problem = InfluenceBalancing()
    theta = jnp.array([problem.optimum])
    state, loss = roll(problem, theta, 400)
    np.testing.assert_allclose(state[0], 1.0, atol=1e-4)
    matrix = 0.5 * np.eye(23) + 0.5 * np.eye(23, k=1)
    drive = np.where(np.arange(23) < 10, 1.0, -1.0) * problem.optimum
    np.testing.assert_allclose(state, np.linalg.solve(np.eye(23) - matrix, drive), atol=1e-3)
    assert loss[-1] < 1e-7
    # One unit of theta raises s_1 at once and lowers it by 6 in the long run.
    for steps, effect in ((1, 1.0), (400, -6.0)):
        low, high = (roll(problem, jnp.array([theta]), steps)[0][0] for theta in (0.0, 1.0))
        np.testing.assert_allclose(high - low, effect, atol=1e-3)


def test_toy_regression_is_gradient_descent_with_the_schedule():
    problem, theta = ToyRegression(horizon=4), jnp.array([0.3, -1.0])
    x, total = np.ones(2), 0.0
    for t in range(4):
        rate = np.exp(0.3) * (1 - t / 4) + np.exp(-1.0) * t / 4
        bump = np.exp(-5 * x[0] ** 2)
        slope = [
            x[0] / np.sqrt(x[0] ** 2 + 5) - 10 * x[0] * np.sin(x[1]) ** 2 * bump,
            np.sin(2 * x[1]) * bump - 0.25,
        ]
        x = x - rate * np.array(slope)
        total += float(height(jnp.asarray(x)))
    carry, losses = roll(problem, theta, 4)
    np.testing.assert_allclose(carry.x, x, rtol=1e-5)
    np.testing.assert_allclose([losses.sum(), problem.total_loss(theta)], total, rtol=1e-5)


def test_linear_and_tracking_problems():
    gradients = np.arange(6.0).reshape(3, 2)
    theta = jnp.array([1.0, -2.0])
    losses = roll(LinearSegments(jnp.asarray(gradients)), theta, 3)[1]
    np.testing.assert_allclose(losses, gradients @ np.array([1.0, -2.0]))
    A, B, targets = 0.5 * np.eye(2), np.eye(2), np.ones((2, 2))
    carry, losses = roll(Tracking(*map(jnp.asarray, (A, B, targets))), theta, 2)
    np.testing.assert_allclose(carry.x, [1.5, -3.0])
    np.testing.assert_allclose(losses, [0.5 * 9, 0.5 * (0.25 + 16)])


def test_text_is_english_and_stable():
    corpus = python_manual()
    assert corpus.ids.dtype == np.uint8 and len(corpus.ids) > 200_000
    assert len(corpus.symbols) == 50 and corpus.ids.max() == 49
    text = "".join(corpus.symbols[i] for i in corpus.ids)
    assert text.count(" the ") > 1000
    assert (corpus.ids == 0).mean() < 0.02
    np.testing.assert_array_equal(python_manual().ids, corpus.ids)


def test_the_lstm_starts_at_chance_and_learns_a_repeated_character():
    problem = CharLSTM(jnp.zeros(200, jnp.int32), vocabulary=10, hidden=4)
    theta = problem.initial_theta(jax.random.key(0))
    assert theta.size == problem.num_params == 10 * 4 + 2 * 4 * 16 + 16 + 4 * 10 + 10
    assert problem.unpack(theta)["output"].shape == (4, 10)
    loss = roll(problem, theta, 3)[1]
    np.testing.assert_allclose(loss, np.log(10), atol=0.3)
    history = minimize(rtrl(problem, 5, 50), optax.adam(0.05), theta, [0], 60)
    assert history.loss[0, -1] < 0.2
