"""Scores in the official environment: the same by every way of playing a saved policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from scipy.stats import t as student

import pes_rl
from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.evaluation.official import play, play_official
from pes_rl.evaluation.statistics import summarize
from pes_rl.evaluation.versions import version_changes
from pes_rl.policies import make_policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.storage.policy import load_policy, save_policy
from tests.tools.run_tools import SMALL, train


def saved(folder: Path, env_id: str, kind: str = "linear"):
    """A random policy for ``env_id`` in ``folder``, loaded."""
    with gymnasium.make(env_id) as env:
        assert isinstance(env.action_space, Box) and env.observation_space.shape
        low, high = env.action_space.low, env.action_space.high
        size, limit = env.observation_space.shape[0], env.spec and env.spec.max_episode_steps
    policy = make_policy(kind, size, low.size, (6,))
    rng = np.random.default_rng(0)
    theta = 0.3 * rng.standard_normal(policy.num_params)
    seen = Normalizer(1000, 0.1 * rng.standard_normal(size), 1000 * (0.5 + rng.random(size)))
    action = ActionSpec("box", low.size, tuple(low), tuple(high))
    environment = {"name": env_id, "gymnasium_id": env_id, "engine": "mujoco", "horizon": limit}
    save_policy(folder, policy, theta, seen, action, environment, {})
    return load_policy(folder)


def evaluate_policy(model, envs: list[gymnasium.Env], seed: int, episodes: int) -> list[list]:
    """Returns [n][E] as Stable-Baselines3's function of this name finds them with n environments.

    Environment i is reset with ``seed + i`` once, and by itself whenever an episode ends.
    """
    starts = [env.reset(seed=seed + i)[0] for i, env in enumerate(envs)]
    observations, states = np.stack(starts), None
    episode_starts = np.ones(len(envs), bool)
    totals, returns = np.zeros(len(envs)), [[] for _ in envs]
    while min(map(len, returns)) < episodes:
        actions, states = model.predict(
            observations, state=states, episode_start=episode_starts, deterministic=True
        )
        for i, env in enumerate(envs):
            observations[i], reward, terminated, truncated, _ = env.step(actions[i])
            totals[i] += float(reward)
            episode_starts[i] = terminated or truncated
            if episode_starts[i]:
                returns[i].append(totals[i])
                totals[i] = 0
                observations[i] = env.reset()[0]
    return [found[:episodes] for found in returns]


@pytest.mark.parametrize(
    ("kind", "env_id"),
    [("linear", "InvertedPendulum-v5"), ("mlp", "Hopper-v5"), ("gru", "Hopper-v5")],
)
def test_a_batch_of_environments_scores_the_same(tmp_path, kind, env_id):
    policy = saved(tmp_path, env_id, kind)
    returns, lengths, *_ = play_official(policy, 6, seed=3)
    assert len(set(lengths)) > 1  # so that some go on while others have begun a new episode
    envs = [gymnasium.make(env_id) for _ in range(6)]
    found = evaluate_policy(policy, envs, 3, episodes=2)
    assert [first for first, _ in found] == returns.tolist()
    # A second episode begins without the memory of the first.
    for i, env in enumerate(envs):
        list(play(policy, env, env.reset(seed=3 + i)[0]))
        again = play(policy, env, env.reset()[0])
        total = 0.0  # one by one: from Python 3.12 on `sum` rounds otherwise
        for step in again:
            total += step.reward
        assert total == found[i][1]
        env.close()


@pytest.mark.parametrize("kind", ["linear", "gru"])
def test_stable_baselines3_scores_the_same(tmp_path, kind, capsys):
    """Needs stable-baselines3 (and with it PyTorch), which nothing here depends on."""
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.evaluation import evaluate_policy  # pyright: ignore
    from stable_baselines3.common.monitor import Monitor  # pyright: ignore
    from stable_baselines3.common.vec_env import DummyVecEnv  # pyright: ignore

    policy = saved(tmp_path, "HalfCheetah-v5", kind)
    assert cli.main(["evaluate", str(tmp_path), "--episodes", "3", "--seed", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)

    # `seed` makes it reset environment i with 5 + i; later resets would have no seed.
    envs = DummyVecEnv([lambda: Monitor(gymnasium.make("HalfCheetah-v5"))] * 3)
    envs.seed(5)
    mean, std = evaluate_policy(policy, envs, n_eval_episodes=3)
    envs.close()
    # Monitor rounds returns to 1e-6.
    assert mean == pytest.approx(result["episode_return_mean"], abs=1e-6)
    assert std == pytest.approx(result["episode_return_std"], abs=1e-6)
    assert std > 1


WITHOUT_JAX = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "optax"}:
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Refuse())
import pes_rl.envs.mujoco_engine
from pes_rl.cli import main
sys.exit(main(["evaluate", sys.argv[1], "--episodes", "2", "--json"]))
"""


def test_evaluate_needs_neither_jax_nor_opengl(tmp_path):
    policy = saved(tmp_path / "policy", "Reacher-v5")
    command = [sys.executable, "-c", WITHOUT_JAX, str(tmp_path / "policy")]
    broken = {**os.environ, "MUJOCO_GL": "nonsense"}  # with which MuJoCo refuses to be imported
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=broken
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["episode_return_mean"] == play_official(policy, 2, 0)[0].mean()
    assert result["episode_length_mean"] == 50


@pytest.mark.parametrize("episodes", [2, 3, 4, 10, 100])
def test_the_interval_is_students(episodes):
    returns = np.random.default_rng(0).standard_normal(episodes)
    result = summarize(returns, np.full(episodes, 7))
    error = returns.std(ddof=1) / np.sqrt(episodes)
    expected = student.interval(0.95, episodes - 1, returns.mean(), error)
    middle = result["episode_return_mean"]
    low, high = (end - middle for end in result["episode_return_interval"])
    np.testing.assert_allclose((low, high), np.array(expected) - middle, rtol=2e-3)
    assert (result["episode_length_mean"], result["episodes"]) == (7, episodes)


def test_one_episode_has_no_interval(tmp_path, capsys):
    assert summarize(np.ones(1), np.ones(1))["episode_return_interval"] is None
    saved(tmp_path, "Reacher-v5")
    assert cli.main(["evaluate", str(tmp_path), "--episodes", "1", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert "no interval" in out and "1 episode, seed 4" in out and err == ""


def test_a_request_for_more_than_memory_holds_begins_all_the_same(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pes_rl.evaluation.official.play", interrupt)
    with pytest.raises(KeyboardInterrupt):
        play_official(saved(tmp_path, "Reacher-v5"), 10**12, 0)


def test_a_name_too_long_for_a_file_is_answered_in_one_line(capsys):
    assert cli.main(["evaluate", "x" * 300]) == 2
    err = capsys.readouterr().err
    assert "does not exist" in err and len(err.splitlines()) == 1


def test_versions_that_differ_from_training_are_named(tmp_path):
    policy = saved(tmp_path, "Reacher-v5")
    assert version_changes(policy) == []
    other = replace(policy, versions={**policy.versions, "mujoco": "3.1.0", "jax": "0.1"})
    assert version_changes(other) == [f"mujoco 3.1.0 -> {policy.versions['mujoco']}"]


class Matrix(gymnasium.Env):
    """Observes [2, 3] and acts in [2, 2]; the reward asks for actions near the observation."""

    observation_space = Box(-1, 1, (2, 3), np.float64)
    action_space = Box(-1, 1, (2, 2), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._observation = self.np_random.uniform(-1, 1, (2, 3))
        return self._observation, {}

    def step(self, action):
        assert action.shape == (2, 2)
        reward = -float(np.square(action - self._observation[:, :2]).sum())
        self._observation = self.np_random.uniform(-1, 1, (2, 3))
        return self._observation, reward, False, False, {}


class Dictionary(Matrix):
    """Observes an array and calls it a dict."""

    observation_space = gymnasium.spaces.Dict({"a": Box(-1, 1, (2,))})


class Pixels(Matrix):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)


@pytest.fixture
def ids():
    for cls in (Matrix, Dictionary, Pixels):
        gymnasium.register(f"{cls.__name__}-v0", cls, max_episode_steps=20)
    yield
    for cls in (Matrix, Dictionary, Pixels):
        del gymnasium.registry[f"{cls.__name__}-v0"]


def test_observations_of_more_than_one_dimension(tmp_path, ids):
    flags = (
        f"--env Matrix-v0 {SMALL} --num-env-steps 400 --horizon 20 --policy gru --hidden-sizes 4"
    )
    assert train(flags, tmp_path / "run") == 0
    policy = load_policy(tmp_path / "run")
    assert (policy.observation.shape, policy.action_shape) == ((2, 3), (2, 2))
    obs = np.random.default_rng(0).standard_normal((5, 2, 3))
    actions, states = policy.predict(obs)
    assert actions.shape == (5, 2, 2) and states is not None and states.shape == (5, 4)
    single, state = policy.predict(obs[1])
    assert single.shape == (2, 2) and np.array_equal(single, actions[1])
    assert state is not None and np.array_equal(state, states[1])
    assert np.array_equal(policy.predict(obs.reshape(5, 6))[0], actions)
    assert np.array_equal(policy.predict(obs[1].ravel())[0], single)
    with pytest.raises(UserError, match=r"expected shape \(2, 3\), got shape \(3, 2\)"):
        policy.predict(obs[0].T)

    envs = [gymnasium.make("Matrix-v0") for _ in range(3)]
    assert evaluate_policy(policy, envs, 0, 1) == play_official(policy, 3, 0)[0][:, None].tolist()
    assert pes_rl.evaluate(tmp_path / "run", episodes=2)["episode_length_mean"] == 20


@pytest.mark.parametrize(
    ("name", "words"), [("Dictionary", "expected a dict"), ("Pixels", "pixels")]
)
def test_other_observations_are_refused(tmp_path, ids, capsys, name, words):
    flags = f"--env {name}-v0 {SMALL} --horizon 20"
    assert train(flags, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
