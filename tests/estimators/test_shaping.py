"""Shaping on hand-made losses, where the answer can be read off."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.estimators import Shaping
from pes_rl.estimators.shaping import RunningScale
from tests.tools.reference import ReferenceShaping


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def shape(kind, loss, live=None, top=None, scale=None):
    loss = jnp.asarray(loss, jnp.float64)
    live = jnp.ones(loss.shape, bool) if live is None else jnp.asarray(live)
    return Shaping(kind, top).differences(loss, live, scale or RunningScale.empty())


@pytest.mark.parametrize("kind", ["std", "running-std"])
@pytest.mark.parametrize("level", [0.0, 1e6])
def test_equal_losses_make_a_zero_update(kind, level):
    """Rounding noise is not to be blown up: below 1e-8 max(1, mean |L|) the update is zero."""
    loss = level + np.array([[0.0, 0.0], [1e-9, 0.0]]) * max(1.0, level)
    delta, _, _, zero = shape(kind, loss)
    assert zero
    np.testing.assert_array_equal(delta, 0)
    delta, _, _, zero = shape(kind, loss + np.array([[0, 1e-6], [0, 0]]) * max(1.0, level))
    assert not zero and np.abs(delta).max() > 1


def test_std_is_that_of_live_members():
    loss = [[1.0, 3.0], [100.0, 5.0], [7.0, 50.0]]
    live = [[True, True], [False, True], [False, False]]
    delta, count, _, _ = shape("std", loss, live)
    deviation = np.std([1.0, 3.0, 5.0])
    np.testing.assert_allclose(delta, np.array([-2.0, -5.0, 0.0]) / deviation, rtol=1e-14)
    assert count == 3, "idle pairs count in the divisor"


def test_running_std_averages_variances_over_updates():
    scale, variances = None, []
    for loss in ([[0.0, 2.0]], [[0.0, 6.0]]):
        delta, _, scale, _ = shape("running-std", loss, scale=scale)
        variances.append(np.var(loss))
    expected = (0.95 * variances[0] + variances[1]) / 1.95  # weights .95 and 1, normalised
    np.testing.assert_allclose(delta, -6 / np.sqrt(expected), rtol=1e-12)
    _, _, unseen, _ = shape("running-std", [[1.0, 9.0]], [[False, False]], scale=scale)
    assert unseen == scale, "an update without live members leaves the average alone"


def test_ranks_share_ties_and_skip_the_dead():
    loss = [[4.0, 1.0], [4.0, -5.0], [9.0, 2.0]]
    live = [[True, True], [True, False], [True, True]]
    # Live: 1, 2, 4, 4, 9 of ranks 0, 1, 2.5, 2.5, 4, that is -1/2, -1/4, 1/8, 1/8, 1/2.
    delta, count, _, _ = shape("centered-rank", loss, live)
    np.testing.assert_allclose(delta, [0.125 + 0.5, 0.125 - 0.0, 0.5 + 0.25], rtol=1e-14)
    assert count == 3


@pytest.mark.parametrize("kind", ["none", "std", "running-std", "centered-rank"])
@pytest.mark.parametrize("alive", [0, 1])
def test_few_or_no_live_members_are_harmless(kind, alive):
    live = np.zeros((2, 2), bool)
    live.ravel()[:alive] = True
    delta, _, _, _ = shape(kind, [[3.0, 1.0], [2.0, 4.0]], live)
    np.testing.assert_array_equal(delta, [3.0 if alive and kind == "none" else 0.0, 0.0])


def test_losses_of_dead_members_are_never_looked_at():
    live = np.array([[True, True], [True, True], [False, False]])
    for kind in ("none", "std", "running-std", "centered-rank"):
        clean, *_ = shape(kind, [[3.0, 1.0], [2.0, 4.0], [0.0, 0.0]], live)
        dirty, *_ = shape(kind, [[3.0, 1.0], [2.0, 4.0], [np.nan, np.inf]], live)
        np.testing.assert_array_equal(dirty, clean)


def test_top_pairs_are_those_with_the_best_member():
    loss = [[9.0, 8.0], [1.0, 100.0], [5.0, 6.0], [0.0, 0.0]]
    live = [[True, True], [True, True], [True, True], [False, False]]
    delta, count, _, _ = shape("none", loss, live, top=2)
    np.testing.assert_array_equal(delta, [0, -99, -1, 0])
    assert count == 2


@pytest.mark.parametrize("kind", ["none", "std", "running-std", "centered-rank"])
@pytest.mark.parametrize("top", [None, 1, 3, 99])
def test_agrees_with_the_reference_on_random_losses(kind, top):
    """Losses drawn from few values, so that ties abound; about a third of the members dead."""
    rng = np.random.default_rng(0)
    reference, scale = ReferenceShaping(kind, top), RunningScale.empty()
    for _ in range(40):
        loss = rng.integers(-3, 4, size=(5, 2)).astype(float)
        live = rng.random((5, 2)) < 0.7
        delta, count, scale, zero = shape(kind, loss, live, top, scale)
        expected, expected_count, expected_zero = reference.differences(loss, live)
        np.testing.assert_allclose(delta, expected, rtol=1e-12, atol=1e-13)
        assert (count, bool(zero)) == (expected_count, expected_zero)
