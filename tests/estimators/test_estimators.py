"""Every estimator against the float64 NumPy reference, and against the others where they agree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.estimators import Shaping
from tests.tools import reference
from tests.tools.toy_problems import NAMES, SIGMA, Drifter, build, episode_gradients, record

PAIRS, K, T, UPDATES = 6, 5, 23, 70  # K does not divide T
CAP = 12.0  # some members outlive the horizon, most do not
THETA = (0.4, 0.6, 0.5)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def compare(name: str, *, kind="none", top=None, staggered=True, horizon: int | None = T, seed=0):
    """Run an estimator and the reference side by side; returns the record of the run."""
    period = 2 * K if name == "gpes" else None
    estimator = build(
        name, PAIRS, K, horizon, period, shaping=Shaping(kind, top), staggered=staggered
    )
    theta = jnp.array(THETA)
    run = record(estimator, Drifter(CAP), PAIRS, theta, jax.random.key(seed), UPDATES, 0.01)
    noise_key, _ = jax.random.split(jax.random.key(seed))
    oracle = reference.Reference(
        name,
        reference.Drifter(CAP),
        np.asarray(estimator.init(noise_key, theta).limit),
        perturb_std=SIGMA,
        segment_length=estimator.segment_length,
        horizon=horizon,
        noise_period=period,
        shaping=kind,
        num_top_pairs=top,
    )
    for u in range(UPDATES):
        expected = oracle.update(run.theta[u], run.plan.noise[u], run.carry[3][u])
        np.testing.assert_array_equal(run.plan.restart[u], expected.restart)
        np.testing.assert_array_equal(run.plan.step_limit[u], expected.step_limit)
        np.testing.assert_array_equal(run.segment.steps[u], expected.steps)
        np.testing.assert_array_equal(run.segment.ended[u], expected.ended)
        np.testing.assert_array_equal(run.state.clock[u], expected.clock)
        np.testing.assert_array_equal(run.state.limit[u], expected.limit)
        np.testing.assert_allclose(run.segment.loss[u], expected.loss, rtol=1e-10, atol=1e-12)
        assert run.info.zero_update[u] == expected.zero_update
        error = np.linalg.norm(run.gradient[u] - expected.gradient)
        assert error <= 1e-10 * np.linalg.norm(expected.gradient), f"update {u}: error {error}"
    return run


def assert_covers_every_case(run, horizon: int | None) -> None:
    """The run must contain what it is meant to test: lengths that differ in every way."""
    steps, ended, limit = run.segment.steps, run.segment.ended, run.plan.step_limit
    died = (steps > 0) & ended
    assert (died & (steps < limit[..., None])).any(), "no member ended inside a segment"
    assert (ended[..., 0] & ~ended[..., 1]).any() and (ended[..., 1] & ~ended[..., 0]).any()
    assert (died.all(-1) & (steps[..., 0] != steps[..., 1])).any(), "no two ends in one segment"
    restarted = run.state.clock == 0
    assert (restarted & ended.all(-1)).any(), "no episode ended by termination"
    if horizon is not None:
        assert (restarted & ~ended.any(-1)).any(), "no episode ended by truncation alone"
        assert (restarted & (ended.sum(-1) == 1)).any(), "no truncation with one member ended"
    assert np.abs(run.theta[-1] - run.theta[0]).max() > 0.01, "theta did not move"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("staggered", [True, False], ids=["staggered", "lock-step"])
def test_agrees_with_reference(name, staggered):
    run = compare(name, staggered=staggered)
    assert_covers_every_case(run, T)
    if name != "es":
        assert (run.plan.step_limit == T % K).any(), "no shortened last segment"
        assert (len(set(run.plan.restart.sum(1)[1:8])) > 1) or not staggered


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["running-std", "std", "centered-rank"])
def test_agrees_with_reference_when_shaped(name, kind):
    compare(name, kind=kind, seed=1)


@pytest.mark.parametrize("kind", ["none", "running-std", "std", "centered-rank"])
def test_agrees_with_reference_when_only_top_pairs_count(kind):
    compare("es-single", kind=kind, top=2, seed=2)


@pytest.mark.parametrize("name", ["pes", "es-single", "gpes", "truncated-es"])
def test_agrees_with_reference_without_horizon(name):
    run = compare(name, horizon=None, seed=3)
    assert_covers_every_case(run, None)


@pytest.mark.parametrize("segment_length", [1, 8])
def test_es_single_summed_over_an_episode_is_es(segment_length):
    """Also when members end early: one pair, whose first episodes are followed to their ends."""
    theta = jnp.array(THETA)

    def first_episodes(estimator, updates):
        return episode_gradients(estimator, Drifter(CAP), 1, theta, 4, 50, 1, updates)

    whole = first_episodes(build("es", 1, T, T), 1)
    pieces = first_episodes(build("es-single", 1, segment_length, T), -(-T // segment_length))
    np.testing.assert_allclose(pieces, whole, rtol=1e-10, atol=1e-12)


def test_unbiased_ones_coincide_when_a_segment_is_an_episode():
    theta, key = jnp.array(THETA), jax.random.key(5)
    runs = [
        record(build(name, PAIRS, T, T, T), Drifter(CAP), PAIRS, theta, key, 10, 0.1)
        for name in ("es", "es-single", "pes", "gpes")
    ]
    for other in runs[1:]:
        np.testing.assert_array_equal(other.plan.noise, runs[0].plan.noise)
        np.testing.assert_array_equal(other.gradient, runs[0].gradient)


@pytest.mark.parametrize("name,period", [("pes", K), ("es-single", 4 * K)])
def test_gpes_has_pes_and_es_single_at_its_ends(name, period):
    """Bit for bit, with T a multiple of K so that T is a noise period."""
    theta, key = jnp.array(THETA), jax.random.key(6)

    def run(estimator):
        return record(estimator, Drifter(CAP), PAIRS, theta, key, 40, 0.1)

    general = run(build("gpes", PAIRS, K, 4 * K, period, staggered=True))
    special = run(build(name, PAIRS, K, 4 * K, staggered=True))
    for field in ("theta", "gradient", "plan", "segment"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(general, field), getattr(special, field)
        )
