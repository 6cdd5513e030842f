"""`HostTrainer` against the float64 NumPy reference, broken simulations included.

With theta in float64 both do the same arithmetic but for the order of sums: a step of theta is
that of the reference to 1e-10 of its length (1e-14 in fact). As trained, in float32, the rounding
of actions and of the sum over pairs leaves some 1e-7, for which 2e-6 is granted. Losses are
float64 in both cases.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import pytest

from pes_rl import streams
from pes_rl.particles.crew import episode_rng
from pes_rl.training import credit
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.host import HostTrainer
from pes_rl.training.protocol import TrainerState
from tests.tools import reference
from tests.tools.toy_environment import (
    DT,
    PAIRS,
    RATE,
    SHIFT,
    K,
    PointMassSimulator,
    T,
    configure,
    first_point,
    point_mass,
)

UPDATES = 14
BREAKS = 1.3  # speed to the left at which simulations break down
NAMES = ["es", "truncated-es", "pes", "es-single", "gpes"]
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-6}
CASES = [*((name, np.float64) for name in NAMES), ("pes", np.float32)]


class PointMass:
    """The twin of `PointMassSimulator` for the reference, with a linear policy and its normaliser.

    A member's state is its position, velocity, pair and whether its simulation has broken down.
    """

    def __init__(self, breaks: float):
        self.breaks = breaks
        self.observed = np.zeros((0, 3))  # by sound pairs, in all earlier updates
        self.seen: list[tuple[int, np.ndarray]] = []  # pair and observation, in this update
        self.shift, self.scale = np.zeros(3), np.ones(3)

    def begin(self, start: np.ndarray) -> tuple:
        x, v, pair = start
        return float(x), float(v), int(pair), False

    def step(self, theta: np.ndarray, state: tuple) -> tuple[tuple, float, bool]:
        x, v, pair, _ = state
        observation = np.array([x, v, 1.0])
        self.seen.append((pair, observation))
        # As specified, the policy sees observations in single precision.
        inputs = np.clip((observation - self.shift) * self.scale, -10, 10).astype(np.float32)
        action = float(np.clip(theta @ inputs.astype(np.float64), -1, 1))
        v = v + DT * action
        x = x + DT * v
        broken = v <= -self.breaks
        loss = 0.0 if broken else -(1.0 + v - 0.1 * action**2 - SHIFT)
        return (x, v, pair, broken), loss, broken or abs(x) >= 1.0

    def inputs(self, state: tuple) -> np.ndarray:
        """What a baseline sees of a member."""
        return np.clip((np.array([*state[:2], 1.0]) - self.shift) * self.scale, -10, 10)

    def settle(self, broken: np.ndarray) -> None:
        """Take this update's observations of pairs that are not ``broken`` [N] into account."""
        kept = [observation for pair, observation in self.seen if not broken[pair]]
        self.observed = np.concatenate([self.observed, np.reshape(kept, (-1, 3))])
        self.seen = []
        self.shift = self.observed.mean(axis=0)
        self.scale = 1 / np.sqrt(np.maximum(self.observed.var(axis=0), 1e-8))


class Expected(NamedTuple):
    """What the reference says of one update once broken pairs are left out; ``broken`` [N, 2]."""

    plain: reference.Expected
    gradient: np.ndarray
    broken: np.ndarray


class Checked:
    """A trainer and the reference side by side; counts what happened to their members."""

    def __init__(self, trainer: HostTrainer, breaks: float, tolerance: float):
        self.trainer, self.tolerance = trainer, tolerance
        config, self.before = trainer.config, trainer.state()
        self.twin = PointMass(breaks)
        self.oracle = reference.Reference(
            config.estimator,
            cast(reference.Drifter, self.twin),
            self.before.train.estimator.limit,
            perturb_std=config.perturb_std,
            segment_length=config.segment_length or T,
            horizon=T,
            noise_period=config.noise_period,
            discount=config.discount,
            trace_decay=config.trace_decay,
            valued=config.baseline != "none",
        )
        self.env_steps = self.differed = self.alone = self.broken = self.truncated = 0

    def update(self, times: int) -> None:
        """Several updates of both, each compared in everything that it leaves behind."""
        for _ in range(times):
            self._update()

    def _update(self) -> None:
        begin = starts(self.trainer.config.seed, self.before.population["episodes"])
        (row,), after = self.trainer.advance(), self.trainer.state()
        expected = self._expect(after, begin)
        self._compare_theta(row, after, expected)
        self._compare_pairs(after, expected)
        self._compare_row(row, expected)
        self._compare_statistics(expected)
        self._count(expected)
        self.before = after

    def _expect(self, after: TrainerState, begin: np.ndarray) -> Expected:
        """The reference's update under the trainer's noise, from start states [N, 2, 3].

        A broken pair weighs nothing, though it is counted, and both its members restart.
        """
        oracle, noise = self.oracle, after.train.estimator.noise
        theta = self.before.train.theta.astype(np.float64)
        self.oracle.value = value_of(self.before.train.credit.baseline)
        plain = oracle.update(theta, noise.astype(np.float64), begin)
        broken = np.array(oracle.states, float)[:, :, 3] == 1
        lost = np.logical_or(*broken.T)
        self.twin.settle(lost)
        if not lost.any():
            return Expected(plain, plain.gradient, broken)
        for i in np.flatnonzero(lost):
            oracle.clock[i], oracle.limit[i] = 0, T
        weight = np.array(oracle.total if oracle.sums else oracle.noise)
        difference = np.where(lost, 0, plain.charged[:, 0] - plain.charged[:, 1])
        return Expected(plain, difference @ weight / (2 * oracle.sigma * PAIRS), broken)

    def _compare_theta(self, row: dict, after: TrainerState, expected: Expected) -> None:
        before, size = self.before.train.theta, np.linalg.norm(expected.gradient)
        assert size > 0.01 and after.train.theta.dtype == before.dtype
        # theta itself is rounded when a step is added to it.
        rounding = np.finfo(before.dtype).eps * np.linalg.norm(before)
        error = np.linalg.norm(after.train.theta - (before - RATE * expected.gradient))
        assert error <= self.tolerance * RATE * size + rounding
        assert row["train/grad_norm"] == pytest.approx(size, rel=self.tolerance)

    def _compare_pairs(self, after: TrainerState, expected: Expected) -> None:
        estimator = after.train.estimator
        np.testing.assert_array_equal(estimator.clock, self.oracle.clock)
        np.testing.assert_array_equal(estimator.limit, self.oracle.limit)
        ended = after.population["ended"].reshape(PAIRS, 2)
        np.testing.assert_array_equal(ended, expected.plain.ended)

    def _compare_row(self, row: dict, expected: Expected) -> None:
        plain = expected.plain
        sound = (plain.steps > 0) & ~expected.broken
        mean = (SHIFT * plain.steps - plain.loss)[sound].mean()
        assert row["train/segment_return"] == pytest.approx(mean, rel=self.tolerance)
        slots = 2 * plain.step_limit.sum()
        assert row["train/live_fraction"] == pytest.approx(plain.steps.sum() / slots)
        assert row["train/invalid_particles"] == expected.broken.sum()
        assert row["train/zero_updates"] == 0

    def _compare_statistics(self, expected: Expected) -> None:
        self.env_steps += expected.plain.steps.sum()
        assert self.trainer.env_steps == self.env_steps
        got, observed = self.trainer.normalizer, self.twin.observed
        assert got.total == len(observed)
        m2 = observed.var(axis=0) * len(observed)
        scale = self.tolerance * np.abs(observed).max(axis=0)
        np.testing.assert_array_less(np.abs(got.mean - observed.mean(axis=0)), scale)
        np.testing.assert_allclose(got.m2, m2, rtol=10 * self.tolerance, atol=1e-10)

    def _count(self, expected: Expected) -> None:
        ended, steps = expected.plain.ended, expected.plain.steps
        self.differed += (steps[:, 0] != steps[:, 1]).sum()
        self.alone += (ended.sum(axis=1) == 1).sum()
        self.broken += expected.broken.sum()
        cut = (np.array(self.oracle.clock) == 0) & ~ended.all(axis=1) & ~expected.broken.any(axis=1)
        self.truncated += cut.sum()


def value_of(state: Any) -> Callable[[np.ndarray], float]:
    """The loss to go that a baseline in ``state`` expects of inputs [3], in NumPy."""

    def quadratic(x: np.ndarray) -> float:
        x = np.clip(x, -5, 5)
        products = [x[i] * x[j] for i in range(3) for j in range(i, 3)]
        return float(np.array([1.0, *x, *products]) @ state.weight)

    def mlp(x: np.ndarray) -> float:
        w1, b1, w2, b2, w3, b3 = state.layers
        mean, deviation = 0.0, 1.0
        if state.weight > 0:
            mean = state.mean / state.weight
            deviation = np.sqrt(max(state.square / state.weight - mean**2, 1e-6))
        hidden = np.tanh(w2 @ np.tanh(w1 @ x + b1) + b2)
        return float(mean + deviation * (w3 @ hidden + b3)[0])

    return mlp if hasattr(state, "layers") else quadratic


def starts(seed: int, episodes: np.ndarray) -> np.ndarray:
    """Start states [N, 2, 3] that pairs get whose next episode has the number ``episodes`` [N]."""
    rngs = [episode_rng(seed, streams.RESET, i, int(e)) for i, e in enumerate(episodes)]
    points = [[*first_point(rng), i] for i, rng in enumerate(rngs)]
    return np.repeat(np.array(points)[:, None], 2, axis=1)


@pytest.fixture(scope="module")
def trainers() -> Callable[[str, type], HostTrainer]:
    """Trainers before their first update, theta in a given precision: each is compiled once."""

    @functools.cache
    def build(name: str, dtype: type) -> tuple[HostTrainer, TrainerState]:
        trainer = HostTrainer(
            configure(name), make_simulator=lambda n, threads: PointMassSimulator(n), dtype=dtype
        )
        return trainer, trainer.state()

    def fresh(name: str, dtype: type) -> HostTrainer:
        trainer, first = build(name, dtype)
        trainer.restore(first)
        return trainer

    return fresh


@pytest.mark.parametrize("name,dtype", CASES)
def test_updates_agree_with_the_reference(name, dtype, trainers):
    """theta, clocks, flags, returns and statistics, with members that end early."""
    run = Checked(trainers(name, dtype), np.inf, TOLERANCE[dtype])
    run.update(UPDATES)
    assert T % K and SHIFT and run.broken == 0
    assert min(run.differed, run.alone, run.truncated) > 3, "members never ended differently"


CREDITS = [
    ("pes", {"discount": 0.95}),
    ("pes", {"trace_decay": 0.5}),
    ("pes", {"baseline": "quadratic"}),
    ("pes", {"discount": 0.97, "trace_decay": 0.8, "baseline": "mlp"}),
    ("gpes", {"discount": 0.97, "trace_decay": 0.8, "baseline": "quadratic"}),
]


@pytest.mark.parametrize(
    "name,fields,breaks",
    [*((*case, np.inf) for case in CREDITS), *((*case, BREAKS) for case in CREDITS[3:])],
)
def test_charged_losses_agree_with_the_reference(name, fields, breaks, monkeypatch):
    """Discount, decay and values at ends, cuts and break-downs; the values are the baseline's."""
    monkeypatch.setattr(PointMassSimulator, "breaks", breaks)
    monkeypatch.setattr(credit, "_INTERVAL", 3)  # does not divide K
    trainer = HostTrainer(
        configure(name, **fields),
        make_simulator=lambda n, threads: PointMassSimulator(n),
        dtype=np.float64,
    )
    run = Checked(trainer, breaks, TOLERANCE[np.float64])
    run.update(UPDATES)
    assert min(run.differed, run.alone) > 3, "members never ended differently"


@pytest.mark.parametrize("name", NAMES)
def test_broken_simulations_agree_with_the_reference(name, trainers, monkeypatch):
    """Their pairs weigh nothing, are not observed, and restart; the others go on as ever."""
    monkeypatch.setattr(PointMassSimulator, "breaks", BREAKS)
    run = Checked(trainers(name, np.float64), BREAKS, TOLERANCE[np.float64])
    run.update(UPDATES)
    assert min(run.broken, run.differed, run.alone) > 3, "no simulation broke down"


@pytest.mark.parametrize("shaping", ["none", "std"])
@pytest.mark.parametrize("name", NAMES)
def test_host_and_device_make_the_same_updates(name, shaping):
    """From one start state, for they draw others; with momentum and members that end early."""
    config = configure(name, shaping=shaping, momentum=0.5)
    host = HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n, start=0.0))
    device = DeviceTrainer(config, environment=point_mass(start=0.0))
    for update in range(UPDATES):
        (one,), (other,) = host.advance(), device.advance()
        assert one["env_steps"] == other["env_steps"]
        # The device adds losses in float32.
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
        # Each rounds float32 in its own way, and what that moves grows from update to update.
        error = np.abs(host.theta - device.theta).max()
        assert error <= (1e-6 if update < UPDATES // 3 else 1e-5)
    assert host.normalizer.total == device.normalizer.total
    np.testing.assert_allclose(host.normalizer.mean, device.normalizer.mean, atol=1e-5)


@pytest.mark.parametrize("name,fields", CREDITS[2:])
def test_host_and_device_charge_alike(name, fields, monkeypatch):
    """In float64, since a baseline that solves for its weights multiplies what rounding leaves."""
    monkeypatch.setattr(credit, "_INTERVAL", 3)
    config = configure(name, **fields)
    with jax.enable_x64(True):
        simulator, environment = PointMassSimulator, point_mass(start=0.0)
        host = HostTrainer(
            config, make_simulator=lambda n, _: simulator(n, start=0.0), dtype=np.float64
        )
        device = DeviceTrainer(config, environment=environment, dtype=np.float64)
        for _ in range(UPDATES):
            host.advance(), device.advance()
            # Policies on a host see their inputs in float32.
            error = np.linalg.norm(host.theta - device.theta)
            assert error <= 3e-5 * np.linalg.norm(host.theta)
