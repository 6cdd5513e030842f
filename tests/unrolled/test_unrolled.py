"""The baselines against exact gradients and closed forms, and the fused loop around them.

Chance of failure: as in `tests.estimators.test_unbiased`, a mean may be off by the number of
measured standard errors that a normal variable exceeds with probability 1e-8; with fewer than 100
comparisons a correct implementation fails with probability below 1e-6. Keys are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from pes_rl import streams
from pes_rl.estimators import Shaping, es_single, pes
from pes_rl.particles.problem import stream_keys
from pes_rl.problems import Step
from pes_rl.unrolled import (
    bptt,
    episode_gradients,
    evolution,
    make_loop,
    minimize,
    pes_analytic,
    rtrl,
    truncated_bptt,
    uoro,
)
from tests.tools.toy_problems import LinearQuadratic

BOUND = stats.norm.isf(1e-8 / 2)
T, K = 12, 4
THETA = np.array([0.3, -0.5, 0.2])


class Carry(NamedTuple):
    time: Any
    x: Any
    memory: Any


def cheap_noise(key, dtype) -> jax.Array:
    """Two numbers in [-1/2, 1/2) from the key itself: compiles in no time."""
    return (jax.random.key_data(key) % 1000).astype(dtype) / 1000 - 0.5


@dataclass(frozen=True)
class Nonlinear:
    """tanh dynamics with noise; the start depends on theta; an integer leaf; a length limit."""

    length: int = 10**6

    def init(self, key, theta):
        x = 0.5 * theta[:2] ** 2 + 0.4 * cheap_noise(key, theta.dtype)
        return Carry(jnp.zeros((), jnp.int32), x, {"sum": theta[2] * x[0]})

    def step(self, key, theta, carry):
        x = jnp.tanh(jnp.array([[0.9, 0.6], [-0.7, 0.8]]) @ carry.x + theta[:2] * carry.x[::-1])
        x = x + 0.4 * cheap_noise(key, theta.dtype) * theta[2]
        total = 0.7 * carry.memory["sum"] + theta[0] * x[1]
        loss = (x**2).sum() + 0.3 * total * theta[2] + jnp.sin(theta[1] * carry.time)
        return Carry(carry.time + 1, x, {"sum": total}), Step(loss, carry.time + 1 >= self.length)


def episode_loss(problem, theta, key, steps: int) -> jax.Array:
    """The loss of one episode, unrolled without any of the machinery but its random numbers."""
    data, counters = jax.random.key_data(key), jnp.arange(steps, dtype=jnp.int32)
    reset = stream_keys(data, streams.RESET, jnp.zeros(1, jnp.int32))[0]
    keys = jax.vmap(lambda t: stream_keys(data, streams.ENVIRONMENT, t[None])[0])(counters)

    def step(carry, key):
        carry, out = problem.step(key, theta, carry)
        return carry, out.loss

    return jax.lax.scan(step, problem.init(reset, theta), keys)[1].sum()


def one_update(method, theta, key):
    return jax.jit(lambda theta, key: method.estimate(theta, method.init(key, theta)))(theta, key)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("length", [10**6, 7])
def test_rtrl_and_bptt_are_the_exact_gradient(x64, length):
    """Whole episodes at fixed theta, one that terminates in the middle of a segment too."""
    problem, theta = Nonlinear(length), jnp.asarray(THETA)
    keys = jax.random.split(jax.random.key(1), 5)
    loss = jax.grad(lambda theta, key: episode_loss(problem, theta, key, min(length, T)))
    expected = jax.vmap(loss, (None, 0))(theta, keys)
    methods = {
        "bptt": (bptt(problem, T), 1),
        "truncated-bptt, K = T": (truncated_bptt(problem, T, T, staggered=False), 1),
        "rtrl": (rtrl(problem, K, T, staggered=False), 3 if length > T else 2),
    }
    for name, (method, segments) in methods.items():
        found = episode_gradients(method, theta, keys, segments)
        np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=name)


def test_particles_are_averaged(x64):
    """The mean of N gradients; the first particle is the one that runs alone."""
    problem, theta, key = Nonlinear(), jnp.asarray(THETA), jax.random.key(2)
    both, alone = bptt(problem, T, num_particles=2), bptt(problem, T)
    mean, state, metrics = one_update(both, theta, key)
    first, _, first_metrics = one_update(alone, theta, key)
    assert metrics.steps == 2 * first_metrics.steps == 2 * T
    assert not np.allclose(mean, first)
    _, particles = state
    assert not np.allclose(*particles.carry.x)


def test_truncated_bptt_is_blind_beyond_its_segment(x64):
    """Its sum over segments is the closed form of the linear-quadratic problem."""
    problem = LinearQuadratic()
    theta = jnp.asarray(problem.theta)
    keys = jax.random.split(jax.random.key(0), 20_000)
    method = truncated_bptt(problem, 2, 8, staggered=False)
    samples = episode_gradients(method, theta, keys, 4)
    assert_mean(samples, problem.gradient(2, 8))
    assert np.linalg.norm(problem.gradient(2, 8) - problem.gradient(8, 8)) > 0.5


def assert_mean(samples: np.ndarray, expected: np.ndarray, precision: float = 0.02) -> None:
    mean, error = samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert error.max() < precision * np.linalg.norm(expected)
    offset = np.abs(mean - expected) / error
    assert offset.max() < BOUND, f"{mean} +- {error}, expected {expected}: {offset} errors away"


def test_uoro_is_unbiased():
    """On a nonlinear problem with a start that depends on theta, against BPTT on equal keys."""
    problem, theta = Nonlinear(), jnp.asarray(THETA, jnp.float32)
    keys = jax.random.split(jax.random.key(2), 40_000)
    noisy = episode_gradients(uoro(problem, K, T, staggered=False), theta, keys, T // K)
    exact = episode_gradients(bptt(problem, T), theta, keys, 1)
    assert ((noisy - exact).std(0) > 2 * exact.std(0)).all()  # its own noise is what is tested
    assert_mean(noisy - exact + exact.mean(0), exact.mean(0))


@pytest.mark.parametrize("name", ["pes", "pes-analytic"])
def test_pes_with_and_without_the_analytic_gradient_is_unbiased(name):
    problem = LinearQuadratic()
    theta = jnp.asarray(problem.theta, jnp.float32)
    keys = jax.random.split(jax.random.key(4), 40_000)
    plain = evolution(problem, pes(4, 0.3, 2, 8, staggered=False))
    method = {"pes": plain, "pes-analytic": pes_analytic(problem, 4, 0.3, 2, 8, staggered=False)}
    samples = episode_gradients(method[name], theta, keys, 4)
    assert_mean(samples, problem.gradient(8, 8))


def test_the_analytic_gradient_takes_out_noise():
    problem = LinearQuadratic()
    theta = jnp.asarray(problem.theta, jnp.float32)
    keys = jax.random.split(jax.random.key(5), 1_000)
    plain = evolution(problem, pes(4, 0.3, 2, 8, staggered=False))
    analytic = pes_analytic(problem, 4, 0.3, 2, 8, staggered=False)
    noise = [episode_gradients(m, theta, keys, 4).var(0).sum() for m in (plain, analytic)]
    assert noise[1] < 0.75 * noise[0]


def test_with_one_segment_per_episode_the_analytic_gradient_is_all_there_is(x64):
    problem, theta = Nonlinear(7), jnp.asarray(THETA)
    method = pes_analytic(problem, 3, 0.1, T, T, staggered=False)
    key = jax.random.key(6)
    gradient, _, metrics = one_update(method, theta, key)
    _, centre_key = jax.random.split(key)
    centre = truncated_bptt(problem, T, T, num_particles=3, staggered=False)
    expected, _, alone = one_update(centre, theta, centre_key)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10)
    assert metrics.steps == 3 * alone.steps == 3 * 3 * 7


METHODS = {
    "es-single": lambda p, stagger: evolution(p, es_single(4, 0.1, K, T, staggered=stagger)),
    "truncated-bptt": lambda p, stagger: truncated_bptt(
        p, K, T, num_particles=4, staggered=stagger
    ),
    "rtrl": lambda p, stagger: rtrl(p, K, T, num_particles=4, staggered=stagger),
    "uoro": lambda p, stagger: uoro(p, K, T, num_particles=4, staggered=stagger),
    "pes-analytic": lambda p, stagger: pes_analytic(p, 4, 0.1, K, T, staggered=stagger),
}
every_method = pytest.mark.parametrize("name", METHODS)


@every_method
def test_the_loop_equals_updates_by_hand(name):
    """Seeds together, many updates in one program: the same as one seed, one update at a time."""
    method, optimizer = METHODS[name](Nonlinear(9), True), optax.adam(0.05)
    seen: list[tuple[int, int]] = []
    history = minimize(
        method,
        optimizer,
        THETA.astype(np.float32),
        [5, 11],
        7,
        records=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert history.updates.tolist() == [0, 2, 4, 7] and seen == [(2, 7), (4, 7), (7, 7)]
    loop = make_loop(method, optimizer)
    update = jax.jit(loop.update)
    for row, seed in enumerate((5, 11)):
        state = jax.jit(loop.init)(jax.random.key(seed), jnp.asarray(THETA, jnp.float32))
        thetas, steps, losses = [state.theta], [0], []
        for _ in range(7):
            state, metrics = update(state)
            thetas.append(state.theta)
            steps.append(steps[-1] + int(metrics.steps))
            losses.append(float(metrics.loss))
        marks = history.updates
        np.testing.assert_allclose(history.theta[row], np.array(thetas)[marks], atol=2e-5)
        np.testing.assert_array_equal(history.steps[row], np.array(steps)[marks])
        assert np.isnan(history.loss[row, 0])
        mean = sum(losses[4:]) / (steps[7] - steps[4])
        assert history.loss[row, 3] == pytest.approx(mean, rel=1e-3)


@every_method
def test_breakstep_spreads_the_clocks_and_lockstep_does_not(name):
    for staggered, different in ((True, 3), (False, 1)):
        method = METHODS[name](Nonlinear(), staggered)
        theta = jnp.asarray(THETA, jnp.float32)
        state, estimate = jax.jit(method.init)(jax.random.key(0), theta), jax.jit(method.estimate)
        for _ in range(T // K):
            _, state, _ = estimate(theta, state)
        assert len(np.unique(state[0].clock)) == different


class Breaks(Nonlinear):
    """Its loss is not finite from step 5 on, for some starts."""

    def step(self, key, theta, carry):
        after, out = super().step(key, theta, carry)
        broken = (carry.time >= 5) & (carry.x[0] > 0)
        return after, Step(jnp.where(broken, jnp.nan, out.loss), False)


@every_method
def test_what_is_not_finite_contributes_nothing_and_is_counted(name):
    method = METHODS[name](Breaks(), False)
    history = minimize(method, optax.sgd(0.01), THETA.astype(np.float32), [0, 1], 20)
    assert np.isfinite(history.theta).all() and np.isfinite(history.loss[:, 1:]).all()
    assert (history.invalid > 0).all()


@pytest.mark.parametrize("make", [truncated_bptt, rtrl, uoro])
def test_a_segment_longer_than_the_horizon_is_refused(make):
    with pytest.raises(ValueError, match="segment_length"):
        make(Nonlinear(), 13, 12)


class Flat:
    """Its losses depend on theta in the first segment of an episode only: then all are equal."""

    def init(self, key, theta):
        return jnp.zeros((), jnp.int32)

    def step(self, key, theta, time):
        return time + 1, Step(jnp.where(time < K, (theta**2).sum(), 1.0), False)


def test_an_update_that_shaping_refuses_moves_nothing():
    """Neither momentum nor weight decay nor the optimiser's own memory."""
    estimator = es_single(4, 0.1, K, T, shaping=Shaping("std"), staggered=False)
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    loop = make_loop(evolution(Flat(), estimator), optimizer)
    update = jax.jit(loop.update)
    state, refused = loop.init(jax.random.key(0), jnp.asarray(THETA, jnp.float32)), []
    for _ in range(2 * T // K):
        before = state.theta, state.optimizer
        state, metrics = update(state)
        refused.append(int(metrics.refused))
        same = jax.tree.map(np.array_equal, before, (state.theta, state.optimizer))
        assert all(jax.tree.leaves(same)) if refused[-1] else not same[0]
    assert refused == 2 * [0, 1, 1]
