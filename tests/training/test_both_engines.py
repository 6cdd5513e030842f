"""Options whose effect follows from the same run without them, on the host and on a device."""

from __future__ import annotations

import numpy as np
import pytest

from pes_rl.config import Config
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.host import HostTrainer
from tests.tools.toy_environment import PAIRS, K, PointMassSimulator, T, configure, point_mass

ENGINES = ["host", "device"]


def make(engine: str, config: Config) -> HostTrainer | DeviceTrainer:
    """A trainer of the point mass before its first update."""
    if engine == "device":
        return DeviceTrainer(config, environment=point_mass())
    return HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_running_mean_is_what_is_scored_and_saved(engine):
    """Each update moves it by K / (A T) of the way; theta goes on as ever."""
    plain = make(engine, configure("es-single"))
    averaged = make(engine, configure("es-single", average_episodes=2.0))
    expected = plain.theta.astype(float)
    for _ in range(6):
        plain.advance(), averaged.advance()
        expected += K / (2.0 * T) * (plain.theta - expected)
        np.testing.assert_allclose(averaged.theta, expected, rtol=1e-5)
        np.testing.assert_array_equal(averaged.state().train.theta, plain.theta)
    assert averaged.evaluate().returns.mean() != plain.evaluate().returns.mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_noise_is_drawn_as_large_as_the_schedule_says(engine):
    """The same draws as ever, in which neither theta nor the episodes take part, times sigma."""
    plain = make(engine, configure("pes"))
    fading = make(engine, configure("pes", perturb_std_decay_steps=2 * PAIRS * K))
    for _ in range(4):
        plain.advance()
        (row,) = fading.advance()
        drawn, expected = (np.asarray(x.state().train.estimator.noise) for x in (fading, plain))
        np.testing.assert_allclose(drawn, row["train/perturb_std"] * expected, rtol=1e-6)
    assert row["train/perturb_std"] < 0.5
