"""Gymnax's environments as we step them, against Gymnax's own objects."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.envs.gymnax_engine import gymnax_environment
from pes_rl.envs.jax_environment import check_environment
from pes_rl.errors import UserError
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure

gymnax = pytest.importorskip("gymnax")


def follow(name: str, actions, **kwargs):
    """Step ours and theirs by the same actions and keys; our transitions, and their ends."""
    ours = gymnax_environment(name, kwargs)
    theirs, params = gymnax.make(name)
    params = params.replace(**kwargs)
    reset, step = jax.jit(ours.reset), jax.jit(ours.step)
    their_step = jax.jit(theirs.step_env)
    for_start, key = jax.random.split(jax.random.key(3))
    state, observation = reset(jax.random.key(3))
    expected, inner = theirs.reset_env(for_start, params)
    np.testing.assert_array_equal(observation, jnp.ravel(expected))
    outs, ends = [], []
    for action in actions:
        key, now = jax.random.split(key)
        expected, inner, reward, done, _ = their_step(now, inner, action, params)
        state, out = step(state, action)
        np.testing.assert_allclose(out.observation, jnp.ravel(expected), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(out.reward, reward, rtol=1e-6)
        outs.append(out)
        ends.append(bool(done))
    return ours, outs, ends


def test_cartpole_ends_where_the_pole_falls():
    ours, outs, ends = follow("CartPole-v1", [1] * 9)
    assert (ours.observation_size, ours.action.kind, ours.action.size) == (4, "discrete", 2)
    assert ours.horizon == 500
    assert [bool(out.terminated) for out in outs] == ends
    assert ends.index(True) == 8  # from here on there is no reward


def test_pendulum_does_not_end_at_its_time_limit():
    pushes = np.random.default_rng(0).uniform(-2, 2, (6, 1)).astype(np.float32)
    ours, outs, ends = follow("Pendulum-v1", pushes, max_steps_in_episode=4)
    assert (ours.action.low, ours.action.high, ours.horizon) == ((-2.0,), (2.0,), 4)
    assert ends == [False, False, False, True, True, True]
    assert not any(out.terminated for out in outs)


def test_what_is_observed_of_the_time_limit_or_drawn_is_as_it_is():
    _, outs, _ = follow("DiscountingChain-bsuite", [0, 1, 2])
    assert [round(float(out.observation[1]), 4) for out in outs] == [0.01, 0.02, 0.03]
    _, outs, _ = follow("UmbrellaChain-bsuite", [0, 1, 0, 1, 0, 1])
    assert len({float(out.reward) for out in outs}) > 1


def test_training_where_every_step_draws():
    """In observations of [10, 5], of pixels as it were."""
    environment = gymnax_environment("Catch-bsuite", {})
    check_environment(environment, "Catch")
    assert environment.observation_size == 50
    trainer = DeviceTrainer(configure(), environment=environment)
    rows = [trainer.advance()[0] for _ in range(8)]
    assert rows[-1]["env_steps"] > 200 and not rows[-1]["train/invalid_particles"]


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("Cartpole-v1", {}, "did you mean 'CartPole-v1'?"),
        ("Zzz", {}, "there is CartPole-v1, "),
        ("CartPole-v1", {"gravitation": 1.0}, "gravitation"),
        ("SimpleBandit-bsuite", {"x": 1}, "cannot make gymnax/SimpleBandit-bsuite: "),
    ],
)
def test_what_gymnax_does_not_have(name, kwargs, words):
    with pytest.raises(UserError) as caught:
        gymnax_environment(name, kwargs)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_extra_is_named_where_gymnax_is_missing(monkeypatch):
    monkeypatch.setattr("pes_rl.envs.packages.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'pes-rl\[gymnax\]'"):
        gymnax_environment("CartPole-v1", {})
