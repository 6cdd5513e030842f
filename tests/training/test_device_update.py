"""The fused update against the float64 NumPy reference, and what it may not do."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl import streams
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.particles.problem import stream_keys
from pes_rl.policies.normalizer import Normalizer
from pes_rl.training.device import DeviceTrainer
from tests.tools import reference
from tests.tools.toy_environment import DT, PAIRS, RATE, SHIFT, K, T, configure, point_mass

pytestmark = pytest.mark.usefixtures("no_compilation_cache")
UPDATES = 14


class Twin:
    """One particle at a time in NumPy, under the normalisation in force; keeps what it has seen."""

    def __init__(self, observation_size: int):
        self.size = observation_size
        self.affine = Normalizer.empty(observation_size).affine()
        self.seen: list[np.ndarray] = []

    def act(self, theta: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """The action of a linear policy, bound 1."""
        self.seen.append(observation)
        shift, scale, bound = self.affine
        seen = np.clip((observation - shift) * scale, -bound, bound)
        return np.clip(theta.reshape(-1, self.size) @ seen, -1, 1)


class PointMass(Twin):
    """The NumPy twin of `tests.tools.toy_environment.point_mass`."""

    def __init__(self):
        super().__init__(3)

    def starts(self, keys: jax.Array) -> np.ndarray:
        """Start states [N, 2] of the pairs."""
        state, _ = jax.vmap(point_mass().reset)(keys)
        return np.stack(state, axis=-1)

    def begin(self, start: np.ndarray) -> tuple:
        return float(start[0]), float(start[1])

    def step(self, theta: np.ndarray, state: tuple) -> tuple[tuple, float, bool]:
        x, v = state
        action = float(self.act(theta, np.array([x, v, 1.0]))[0])
        v = v + DT * action
        x = x + DT * v
        return (x, v), -(1.0 + v - 0.1 * action**2 - SHIFT), abs(x) >= 1.0


class Physics(Twin):
    """A particle of a real engine, by its own functions of one particle: no vmap, no scan."""

    def __init__(self, environment: JaxEnvironment):
        super().__init__(environment.observation_size)
        self._reset, self._step = jax.jit(environment.reset), jax.jit(environment.step)

    def starts(self, keys: jax.Array) -> np.ndarray:
        """The keys [N, 2] that start states are drawn with."""
        return np.asarray(jax.random.key_data(keys))

    def begin(self, start: np.ndarray) -> tuple:
        return self._reset(jax.random.wrap_key_data(start))

    def step(self, theta: np.ndarray, state: tuple) -> tuple[tuple, float, bool]:
        inner, observation = state
        inner, out = self._step(inner, self.act(theta, np.asarray(observation)))
        return (inner, out.observation), SHIFT - float(out.reward), bool(out.terminated)


def follow(trainer: DeviceTrainer, twin: Any, updates: int) -> list[reference.Expected]:
    """Make updates that must agree with the reference: gradient, clocks, flags, statistics."""
    config, total, made = trainer.config, Normalizer.empty(twin.size), []
    before = trainer.state()
    oracle = reference.Reference(
        config.estimator,
        twin,
        before.train.estimator.limit,
        perturb_std=config.perturb_std,
        segment_length=config.unroll_length,
        horizon=config.horizon,
        noise_period=config.noise_period,
    )
    for update in range(updates):
        twin.affine, twin.seen = total.affine(), []
        keys = stream_keys(
            jnp.asarray(before.train.key), streams.RESET, jnp.asarray(before.population.episodes)
        )
        begin = np.repeat(twin.starts(keys)[:, None], 2, axis=1)
        (row,) = trainer.advance()
        after = trainer.state()
        expected = oracle.update(before.train.theta, after.train.estimator.noise, begin)
        gradient = (before.train.theta - after.train.theta) / RATE
        error = np.linalg.norm(gradient - expected.gradient)
        assert error <= 1e-10 * np.linalg.norm(expected.gradient), f"update {update}: {error}"
        np.testing.assert_array_equal(after.train.estimator.clock, expected.clock)
        np.testing.assert_array_equal(after.train.estimator.limit, expected.limit)
        np.testing.assert_array_equal(after.population.ended, expected.ended)
        lived = expected.steps > 0
        mean = (SHIFT * expected.steps - expected.loss)[lived].mean()
        assert row["train/segment_return"] == pytest.approx(mean, rel=1e-10)
        assert row["train/live_fraction"] == pytest.approx(
            expected.steps.sum() / (2 * expected.step_limit.sum())
        )
        seen = np.array(twin.seen)
        mean = seen.mean(axis=0)
        total = reference.union(
            total, Normalizer(len(seen), mean, ((seen - mean) ** 2).sum(axis=0))
        )
        assert trainer.normalizer.total == total.total == trainer.env_steps
        np.testing.assert_allclose(trainer.normalizer.mean, total.mean, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(trainer.normalizer.m2, total.m2, rtol=1e-9, atol=1e-10)
        made.append(expected)
        before = after
    return made


@pytest.mark.parametrize("name", ["es", "truncated-es", "pes", "es-single", "gpes"])
def test_the_fused_update_agrees_with_the_reference(name):
    """With members that end early."""
    with jax.enable_x64(True):
        trainer = DeviceTrainer(configure(name), environment=point_mass(), dtype=np.float64)
        made = follow(trainer, PointMass(), UPDATES)
    differed = sum(int((e.steps[:, 0] != e.steps[:, 1]).sum()) for e in made)
    alone = sum(int((e.ended.sum(axis=1) == 1).sum()) for e in made)
    assert differed > 3 and alone > 3, "members never ended at different steps"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("pes", {"env": "brax/halfcheetah", "backend": "spring"}),
        pytest.param("es-single", {"env": "HalfCheetah", "engine": "mjx"}, marks=pytest.mark.slow),
    ],
)
def test_updates_on_real_physics_agree_with_the_reference(name, fields):
    sizes = {"num_pairs": 2, "segment_length": 3, "horizon": 7, "perturb_std": 0.3}
    config = configure(name, normalize_observations=True, **fields, **sizes)
    with jax.enable_x64(True):
        trainer = DeviceTrainer(config, dtype=np.float64)
        made = follow(trainer, Physics(trainer.environment), 5)
    assert sum(int(e.restart.sum()) for e in made) > 2, "no pair came to its second episode"
    assert all(np.linalg.norm(e.gradient) > 0 for e in made)


def test_a_broken_simulation_marks_its_pair_and_spares_the_rest():
    """As on the host: weight 0, out of the statistics, both members restart at the boundary."""
    sound = point_mass(bound=np.inf)

    def step(state, action):
        state, out = sound.step(state, action)
        return state, out._replace(reward=jnp.where(jnp.abs(state.x) > 0.6, jnp.nan, out.reward))

    broken = sound._replace(step=step)
    config = configure("es-single", staggered=False)
    trainer = DeviceTrainer(config, environment=broken)
    counted = steps = 0
    for _ in range(T // K):
        (row,) = trainer.advance()
        state = trainer.state()
        counted += row["train/invalid_particles"]
        restarting = state.train.estimator.clock == 0
        assert restarting.sum() >= (row["train/invalid_particles"] > 0)
        np.testing.assert_array_equal(state.population.ended.any(axis=1), restarting)
        assert np.isfinite(row["train/segment_return"]) and np.isfinite(trainer.theta).all()
        steps = trainer.env_steps
    assert counted > 0
    assert 0 < trainer.normalizer.total < steps
    assert np.isfinite(trainer.normalizer.mean).all() and (trainer.normalizer.m2 >= 0).all()


def test_schedules_follow_env_steps_inside_the_program():
    config = configure(
        learning_rate_schedule="linear",
        schedule_env_steps=2 * PAIRS * K * 4,
        perturb_std_decay_steps=2 * PAIRS * K,
    )
    trainer = DeviceTrainer(
        dataclasses.replace(config, eval_every=10**6), environment=point_mass(bound=np.inf)
    )
    rows = trainer.advance()
    taken = np.array([0, *(row["env_steps"] for row in rows[:-1])])
    expected = RATE * np.maximum(1 - taken / (2 * PAIRS * K * 4), 0)
    np.testing.assert_allclose([r["train/learning_rate"] for r in rows], expected, rtol=1e-5)
    sigma = 1 / (1 + taken / (2 * PAIRS * K))
    np.testing.assert_allclose([r["train/perturb_std"] for r in rows], sigma, rtol=1e-5)
    assert rows[-1]["train/learning_rate"] == 0 and rows[1]["train/learning_rate"] > 0


def test_a_compiled_program_is_used_again_and_takes_over_its_argument():
    compiled: list[str] = []

    def listen(event: str, duration: float, **kwargs) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    trainer = DeviceTrainer(configure(), environment=point_mass())
    first, program = trainer.device_state, trainer.compile()  # with small ones, made before it
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(3):
            trainer.advance()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled and trainer.compile() is program
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first) if leaf.size)


@pytest.mark.parametrize(
    "policy,sizes", [("linear", ()), ("linear-bias", ()), ("mlp", (5, 4)), ("gru", (4,))]
)
def test_paired_products_are_those_of_the_members(policy, sizes):
    """W x ± sigma E x is the policy at theta ± sigma eps, whichever policy it is."""
    from pes_rl.estimators import members
    from pes_rl.particles.paired import PairedNumpy, paired_weights
    from pes_rl.policies import make_policy

    with jax.enable_x64(True):
        kind = make_policy(policy, 3, 2, sizes)
        rng = np.random.default_rng(0)
        theta = jnp.asarray(rng.standard_normal(kind.num_params))
        noise = jnp.asarray(rng.standard_normal((4, kind.num_params)))
        x = jnp.asarray(rng.standard_normal((4, 2, 3)))
        hidden = jnp.asarray(rng.standard_normal((4, 2, kind.state_size)))
        weights = paired_weights(kind, theta, noise, 0.3)
        got = kind.apply(PairedNumpy(), weights, x, hidden)
        want = kind.apply(jnp, kind.unpack(members(theta, noise, 0.3)), x, hidden)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        rough = paired_weights(kind, theta, noise, 0.3, jnp.bfloat16)
        rounded = kind.apply(PairedNumpy(), rough, x, hidden)[0]
        assert rounded.dtype == x.dtype
        assert 0 < np.abs(rounded - want[0]).max() < 0.1
