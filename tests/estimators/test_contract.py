"""What every estimator promises its callers, whatever its rule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pes_rl.estimators import Segment, Shaping, es_single, gpes, members
from pes_rl.particles.problem import Step, lift
from tests.tools.toy_problems import NAMES, SIGMA, Drifter, build, record

KINDS = ("none", "std", "running-std", "centered-rank")
N, K, T, P = 4, 5, 20, 3
every_estimator = pytest.mark.parametrize("name", NAMES)


def quiet_segment(steps: int = K, loss: Any = None, **flags) -> Segment:
    """A segment in which nothing ends; losses differ from member to member."""
    loss = np.arange(2 * N, dtype=np.float32).reshape(N, 2) ** 1.5 if loss is None else loss
    off = jnp.zeros((N, 2), bool)
    fields = {"ended": off, "invalid": off, "steps": jnp.full((N, 2), steps, jnp.int32)}
    return Segment(loss=jnp.asarray(loss), **{**fields, **flags})


def one_update(estimator, state, segment):
    plan, state = estimator.perturb(state)
    gradient, state, info = estimator.gradient(state, segment)
    return plan, gradient, state, info


@every_estimator
def test_jit_changes_nothing(name):
    estimator = build(name, N, K, T, staggered=True)
    state = jitted = estimator.init(jax.random.key(0), jnp.ones(P))
    for _ in range(6):
        plan, gradient, state, _ = one_update(estimator, state, quiet_segment())
        jit_plan, jitted = jax.jit(estimator.perturb)(jitted)
        jit_gradient, jitted, _ = jax.jit(estimator.gradient)(jitted, quiet_segment())
        np.testing.assert_array_equal(plan.noise, jit_plan.noise)
        np.testing.assert_array_equal(plan.restart, jit_plan.restart)
        np.testing.assert_array_equal(plan.step_limit, jit_plan.step_limit)
        np.testing.assert_allclose(gradient, jit_gradient, rtol=1e-5)


@every_estimator
def test_scaled_noise_makes_the_gradient_a_natural_one(name):
    """Every draw is scaled once, when it is made, and weighs the losses as long as it counts."""
    estimator = build(name, N, K, T)
    slope, scale = jnp.array([1.0, -2.0, 0.5]), jnp.array(0.25)
    state = scaled = estimator.init(jax.random.key(0), jnp.zeros(P))
    for _ in range(T // K):
        plan, state = estimator.perturb(state)
        small, scaled = estimator.perturb(scaled, scale)
        np.testing.assert_array_equal(small.noise, 0.25 * plan.noise)
        gradients = []
        for inner, noise in ((state, plan.noise), (scaled, small.noise)):
            loss = members(jnp.zeros(P), noise, SIGMA) @ slope
            gradients.append(estimator.gradient(inner, quiet_segment(loss=loss)))
        np.testing.assert_allclose(gradients[1][0], 0.25**2 * gradients[0][0], rtol=1e-5)
        state, scaled = gradients[0][1], gradients[1][1]


@every_estimator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_and_gradient_have_the_dtype_of_theta(name, dtype):
    """Losses stay float64: their difference is taken before any cast."""
    with jax.enable_x64(True):
        estimator = build(name, N, K, T)
        state = estimator.init(jax.random.key(0), jnp.ones(P, dtype))
        loss = jnp.full((N, 2), 1e9) + jnp.array([[0.0, 1.0]])  # 1 is lost in float32
        plan, gradient, state, _ = one_update(estimator, state, quiet_segment(loss=loss))
        assert plan.noise.dtype == gradient.dtype == state.noise.dtype == dtype
        assert state.accumulator.dtype == dtype
        assert members(jnp.ones(P, dtype), plan.noise, SIGMA).dtype == dtype
        expected = -np.asarray(plan.noise, np.float64).sum(0) / (2 * SIGMA * N)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@every_estimator
@pytest.mark.parametrize("kind", KINDS)
def test_state_keeps_its_structure_and_is_traced_once(name, kind):
    estimator = build(name, N, K, T, shaping=Shaping(kind), staggered=True)
    traces = []

    @jax.jit
    def update(state, segment):
        traces.append(1)
        return one_update(estimator, state, segment)[1:3]

    first = state = estimator.init(jax.random.key(0), jnp.ones(P))
    for _ in range(3):
        _, state = update(state, quiet_segment())
        assert jax.tree.structure(state) == jax.tree.structure(first)
        assert [x.aval for x in jax.tree.leaves(state)] == [x.aval for x in jax.tree.leaves(first)]
    assert len(traces) == 1


@every_estimator
def test_noise_depends_on_the_pair_not_on_its_company(name):
    few, many = (build(name, n, K, T) for n in (2, 5))
    key = jax.random.key(1)
    small, large = few.init(key, jnp.ones(P)), many.init(key, jnp.ones(P))
    drawn = []
    for _ in range(3):
        plan, small = few.perturb(small)
        wide, large = many.perturb(large)
        np.testing.assert_array_equal(wide.noise[:2], plan.noise)
        drawn.append(np.asarray(wide.noise))
        # Restart everything, so that every estimator draws anew.
        small = small._replace(clock=jnp.zeros_like(small.clock))
        large = large._replace(clock=jnp.zeros_like(large.clock))
    values = np.stack(drawn).ravel()
    assert len(np.unique(values)) == values.size, "no number is drawn twice"


@every_estimator
def test_noise_is_standard_normal(name):
    """Kolmogorov-Smirnov; a correct generator fails with probability 1e-6 (the key is fixed)."""
    estimator = build(name, 50, K, T)
    state = estimator.init(jax.random.key(2), jnp.ones(200))
    plan, state = estimator.perturb(state)
    noise = np.asarray(plan.noise, np.float64)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-6
    between_pairs = np.corrcoef(noise)[np.triu_indices(50, 1)]
    assert np.abs(between_pairs).max() < 6 / np.sqrt(200)


def test_members_are_antithetic():
    theta, noise = jnp.array([1.0, 2.0]), jnp.array([[10.0, -1.0]])
    np.testing.assert_allclose(members(theta, noise, 0.5), [[[6.0, 1.5], [-4.0, 2.5]]])


@every_estimator
def test_one_update_by_hand(name):
    """On the first segment all weights are the noise: g = sum eps (L+ - L-) / (2 sigma N)."""
    estimator = build(name, N, K, T)
    state = estimator.init(jax.random.key(3), jnp.ones(P))
    segment = quiet_segment()
    # One pair idles: it adds nothing, and the divisor is N nevertheless.
    segment = segment._replace(
        loss=segment.loss.at[2].set(0.0),
        steps=segment.steps.at[2].set(0),
        ended=segment.ended.at[2].set(True),
    )
    plan, gradient, _, _ = one_update(estimator, state, segment)
    difference = np.asarray(segment.loss[:, 0] - segment.loss[:, 1])
    expected = np.asarray(plan.noise).T @ difference / (2 * SIGMA * N)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@every_estimator
@pytest.mark.parametrize("num_pairs", [3, 4, 5, 12, 13])
def test_limits(name, num_pairs):
    """First limits are multiples of K capped at T, as evenly spread as N allows; then all are T."""
    horizon = 23
    segments = -(-horizon // K)
    firsts = []
    for seed in range(3):
        estimator = build(name, num_pairs, K, horizon, staggered=True)
        state = estimator.init(jax.random.key(seed), jnp.ones(P))
        firsts.append(tuple(state.limit.tolist()))
    if name == "es":
        assert set(sum(firsts, ())) == {horizon}, "es is never staggered"
        return
    for first in firsts:
        assert all(x == horizon or (x % K == 0 and 0 < x < horizon) for x in first)
        counts = [first.count(min(r * K, horizon)) for r in range(1, segments + 1)]
        assert sum(counts) == num_pairs and max(counts) - min(counts) <= 1
    assert len(set(firsts)) > 1, "the permutation depends on the seed"
    lock_step = build(name, num_pairs, K, horizon)
    limits = lock_step.init(jax.random.key(0), jnp.ones(P)).limit
    assert set(limits.tolist()) == {horizon}


@pytest.mark.parametrize("name", [n for n in NAMES if n != "es"])
def test_a_staggered_first_episode_is_followed_by_full_ones(name):
    estimator = build(name, N, K, T, staggered=True)
    run = record(estimator, Drifter(np.inf), N, jnp.zeros(P), jax.random.key(4), 12)
    first = np.array([np.flatnonzero(run.plan.restart[:, i])[:2] for i in range(N)])
    assert sorted((first[:, 1] * K).tolist()) == [5, 10, 15, 20]
    for i in range(N):
        assert set(np.diff(np.flatnonzero(run.plan.restart[1:, i]))) <= {T // K}


@every_estimator
@pytest.mark.parametrize("kind", KINDS)
def test_unstable_members_weigh_nothing_and_restart(name, kind):
    estimator = build(name, N, K, 4 * K, shaping=Shaping(kind))
    state = estimator.init(jax.random.key(5), jnp.ones(P))
    length = estimator.segment_length
    healthy = quiet_segment(length)
    invalid = jnp.zeros((N, 2), bool).at[1, 0].set(True).at[3].set(True)
    sick = healthy._replace(
        loss=healthy.loss.at[1, 0].set(jnp.nan).at[3, 1].set(jnp.inf),
        ended=invalid,
        invalid=invalid,
    )
    plan, gradient, after, info = one_update(estimator, state, sick)
    assert np.isfinite(gradient).all()
    assert info.invalid_particles == 3
    # As if the pairs with a sick member had been idle.
    rest = jnp.array([[True], [False], [True], [False]])
    idle = healthy._replace(
        loss=jnp.where(rest, healthy.loss, 0), steps=jnp.where(rest, healthy.steps, 0)
    )
    _, expected, _, _ = one_update(estimator, state, idle)
    np.testing.assert_array_equal(gradient, expected)
    again, _ = estimator.perturb(after)
    ends = name == "es"  # its segment is the whole episode, so everyone restarts
    np.testing.assert_array_equal(again.restart, [ends, True, ends, True])
    changed = (np.asarray(again.noise) != np.asarray(plan.noise)).any(1)
    assert changed[1] and changed[3]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


class Fragile:
    """Loses its mind at step 3 where the parameter is above zero; its loss is 1 per step."""

    def init(self, key: Any, theta: jax.Array):
        return jnp.zeros((), jnp.int32), jax.random.uniform(key)

    def step(self, key: Any, theta: jax.Array, carry):
        time, start = carry
        loss = jnp.where((time == 2) & (theta[0] > 0), jnp.nan, 1.0)
        return (time + 1, start), Step(loss, jnp.zeros((), bool))


def test_lift_ends_members_whose_loss_is_not_finite():
    estimator = build("pes", N, K, T)
    run = record(estimator, Fragile(), N, jnp.zeros(1), jax.random.key(6), 3)
    # theta is 0, so of every pair exactly one member is above zero, and every episode is cut short.
    np.testing.assert_array_equal(run.segment.invalid.sum(-1), 1)
    np.testing.assert_array_equal(np.sort(run.segment.steps, -1), np.full((3, N, 2), [3, K]))
    np.testing.assert_array_equal(np.sort(run.segment.loss, -1), np.full((3, N, 2), [2.0, K]))
    np.testing.assert_array_equal(run.segment.ended, run.segment.invalid)
    assert run.plan.restart.all() and (run.info.invalid_particles == N).all()
    np.testing.assert_array_equal(run.gradient, 0)
    starts = run.carry[1]
    np.testing.assert_array_equal(starts[..., 0], starts[..., 1], "members share their start")
    assert len(np.unique(starts[..., 0])) == 3 * N, "every episode starts elsewhere"


class Noisy:
    """Loss is the environment's own noise."""

    def init(self, key: Any, theta: jax.Array):
        return jnp.zeros(())

    def step(self, key: Any, theta: jax.Array, carry):
        return carry, Step(jax.random.normal(key), jnp.zeros((), bool))


def test_members_share_environment_noise_and_pairs_do_not():
    estimator = build("es-single", N, 1, T)
    run = record(estimator, Noisy(), N, jnp.zeros(P), jax.random.key(7), 30)
    loss = run.segment.loss
    np.testing.assert_array_equal(loss[..., 0], loss[..., 1])
    assert len(np.unique(loss[..., 0])) == 30 * N, "no number is drawn twice"
    np.testing.assert_array_equal(run.gradient, 0)


def test_lift_places_pairs_independently():
    theta, key = jnp.array([0.4, 0.6, 0.5]), jax.random.key(8)
    segments = []
    for num_pairs in (2, 5):
        estimator = build("pes", num_pairs, K, T)
        run = record(estimator, Drifter(8.0), num_pairs, theta, key, 6)
        segments.append(jax.tree.map(lambda x: x[:, :2], run.segment))
    jax.tree.map(np.testing.assert_array_equal, *segments)


def test_a_lifted_member_that_has_ended_makes_no_steps_and_loses_nothing():
    runner = lift(Drifter(2.0), N, K, SIGMA)
    estimator = build("es-single", N, K, 100)
    theta = jnp.array([0.4, 0.6, 0.5])
    state, particles = estimator.init(jax.random.key(9), theta), None
    plan, state = estimator.perturb(state)
    particles = runner.init(jax.random.key(10), theta)
    first, particles = runner.unroll(theta, plan, particles)
    carried = plan._replace(restart=jnp.zeros(N, bool))
    second, _ = runner.unroll(theta, carried, particles)
    assert first.ended.any()
    dead = np.asarray(first.ended)
    np.testing.assert_array_equal(np.asarray(second.steps)[dead], 0)
    np.testing.assert_array_equal(np.asarray(second.loss)[dead], 0)


@pytest.mark.parametrize("period", [0, -K, K + 1])
def test_noise_period_must_be_a_multiple_of_the_segment_length(period):
    with pytest.raises(ValueError, match="noise_period"):
        gpes(N, SIGMA, K, T, period)


def test_one_key_serves_the_estimator_and_the_runner():
    """A reset must not draw the very numbers of the noise: streams have tags of their own."""

    class StartIsNoise:
        def init(self, key, theta):
            return jax.random.normal(key, theta.shape)

        def step(self, key, theta, carry):
            return carry, Step(theta.sum(), jnp.zeros((), bool))

    key, theta = jax.random.key(3), jnp.zeros(5)
    plan, _ = es_single(4, 0.1, 2, 6).perturb(es_single(4, 0.1, 2, 6).init(key, theta))
    state = lift(StartIsNoise(), 4, 2, 0.1).init(key, theta)
    assert jnp.abs(state.carry[:, 0] - plan.noise).min() > 1e-6


def test_endless_episodes_need_enough_directions():
    with pytest.raises(ValueError, match="2 pairs that never draw again"):
        es_single(2, 0.1, 2, None).init(jax.random.key(0), jnp.zeros(50))
