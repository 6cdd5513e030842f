"""MuJoCo Playground's environments as we step them, against Playground's own objects."""

from __future__ import annotations

import subprocess

import jax
import numpy as np
import pytest

from pes_rl.envs.jax_environment import check_environment
from pes_rl.envs.playground_engine import playground_environment
from pes_rl.errors import UserError
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure

pytest.importorskip("mujoco_playground")


@pytest.fixture(scope="module")
def cartpole():
    return playground_environment("CartpoleBalance", {"episode_length": 20})


def test_it_is_traced_and_carries_little(cartpole):
    check_environment(cartpole, "cartpole")
    assert (cartpole.observation_size, cartpole.action.size, cartpole.horizon) == (5, 1, 20)
    state, _ = jax.eval_shape(cartpole.reset, jax.random.key(0))
    assert state.data.qpos.shape == (2,) and len(jax.tree.leaves(state)) < 12  # of 88
    assert state.info["rng"] is None


@pytest.mark.slow
def test_it_steps_as_playground_does(cartpole):
    from mujoco_playground import registry

    theirs = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})
    reset, step = jax.jit(cartpole.reset), jax.jit(cartpole.step)
    their_reset, their_step = jax.jit(theirs.reset), jax.jit(theirs.step)
    key = jax.random.key(3)
    state, observation = reset(key)
    expected = their_reset(key)
    np.testing.assert_array_equal(observation, expected.obs)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 1)).astype(np.float32):
        expected = their_step(expected, action)
        state, out = step(state, action)
        np.testing.assert_allclose(out.observation, expected.obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out.reward, expected.reward, rtol=1e-5)
        assert bool(out.terminated) == bool(expected.done)
    np.testing.assert_allclose(state.data.qpos, expected.data.qpos, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_training_in_it(cartpole):
    trainer = DeviceTrainer(configure(), environment=cartpole)
    row = trainer.advance()[0]
    assert row["env_steps"] > 0 and not row["train/invalid_particles"]
    assert 0 < row["train/segment_return"] <= 7


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("ChetahRun", {}, "did you mean 'CheetahRun'?"),
        ("CheetahRun", {"impl": "warp"}, "impl 'jax' only"),
        ("CheetahRun", {"ctrl_dtt": 0.1}, "no option 'ctrl_dtt'; did you mean 'ctrl_dt'?"),
        ("CheetahRun", {"ctrl_dt": "x"}, "cannot make playground/CheetahRun: "),
    ],
)
def test_what_playground_does_not_have(name, kwargs, words):
    with pytest.raises(UserError) as caught:
        playground_environment(name, kwargs)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_robots_need_a_download(monkeypatch, capsys):
    from mujoco_playground._src import mjx_env

    def fail(*_):
        raise subprocess.CalledProcessError(128, ["git", "clone"])

    monkeypatch.setattr(mjx_env, "ensure_menagerie_exists", fail)
    with pytest.raises(UserError, match="needs the robots of mujoco_menagerie"):
        playground_environment("Go1JoystickFlatTerrain", {})
    assert capsys.readouterr().out == ""


def test_the_extra_is_named_where_playground_is_missing(monkeypatch):
    monkeypatch.setattr("pes_rl.envs.packages.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'pes-rl\[playground\]'"):
        playground_environment("CartpoleBalance", {})
