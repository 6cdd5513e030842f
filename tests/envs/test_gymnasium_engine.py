"""The engine for any Gymnasium environment: what it accepts, its time limits, and learning."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import pes_rl
from pes_rl import cli
from pes_rl.envs.gymnasium_engine import GymnasiumSimulator
from pes_rl.evaluation.official import play_official
from tests.tools.run_tools import EVAL, SMALL, rows, train

ENDLESS = "PesRlTestEndless-v0"


class Endless(gymnasium.Env):
    """Rewards the action 7 of {5, 6, 7}; never ends, and refuses any other action."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2, 2), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((2, 2), 0.5, np.float32), {}

    def step(self, action):
        if action not in (5, 6, 7):
            raise ValueError(action)
        return np.full((2, 2), 0.5, np.float32), float(action == 7), False, False, {}


@pytest.fixture
def endless():
    gymnasium.register(ENDLESS, Endless)
    yield ENDLESS
    del gymnasium.registry[ENDLESS]


def test_cart_pole_is_learned(tmp_path):
    """Discrete actions; the reward is 1 a step, at most 500."""
    flags = "--num-pairs 4 --perturb-std 0.3 --learning-rate 0.05 --no-normalize-observations"
    budget = "--num-env-steps 15000 --eval-every 1500 --eval-episodes 5"
    assert train(f"--env CartPole-v1 {flags} {budget}", tmp_path / "run") == 0
    policy = pes_rl.load_policy(tmp_path / "run")
    untrained = replace(policy, theta=np.zeros_like(policy.theta))
    assert play_official(untrained, 5, 0)[0].mean() < 20
    returns = [row[EVAL[0]] for row in rows(tmp_path / "run") if EVAL[0] in row]
    assert np.mean(returns[-5:]) > 300
    mark = json.loads((tmp_path / "run" / "run.json").read_text())
    assert mark == {"exact_resume": True}
    result = pes_rl.evaluate(tmp_path / "run", episodes=5)
    assert result["environment"] == "CartPole-v1" and 300 < result["episode_return_mean"] <= 500


def test_pendulum_trains_until_the_horizon(tmp_path):
    """Box actions; Pendulum never terminates, so the time limit alone ends its episodes."""
    flags = "--env Pendulum-v1 --num-pairs 2 --num-env-steps 2000 --eval-episodes 2"
    assert train(flags, tmp_path / "run") == 0
    table = rows(tmp_path / "run")
    assert {row["train/live_fraction"] for row in table} == {1.0}
    assert table[-1]["eval/episode_length"] == 200
    theta = pes_rl.load_policy(tmp_path / "run").theta
    assert np.isfinite(theta).all() and theta.any()


def test_the_time_limit_is_the_runners(capsys):
    simulator = GymnasiumSimulator("Pendulum-v1", 1)
    simulator.reset(np.array([0]), [np.random.default_rng(0)])
    steps = [simulator.step(np.array([0]), np.zeros((1, 1))) for _ in range(250)]
    assert not any(step.terminated[0] or step.unstable[0] for step in steps)
    # So only the horizon keeps an episode within the official limit, and it may not exceed it.
    assert train("--env Pendulum-v1 --horizon 201") == 2
    assert "horizon 201 is beyond the time limit" in capsys.readouterr().err


def test_an_environment_without_a_time_limit(endless, tmp_path, capsys):
    assert train(f"--env {endless} {SMALL.replace('--horizon 40', '')}", tmp_path / "run") == 2
    assert "give --horizon" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    flags = f"{SMALL} --perturb-std 1 --learning-rate 1 --no-normalize-observations"
    assert train(f"--env {endless} {flags}", tmp_path / "run") == 0
    # It is scored over the horizon it was trained for; 7 is the action that pays.
    result = pes_rl.evaluate(tmp_path / "run", episodes=2)
    assert (result["episode_length_mean"], result["episode_return_mean"]) == (40, 40)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("NoSuchThing-v1", "unknown environment"),
        ("CartPole-v9", "did you mean 'CartPole-v1'?"),
        ("no_such_module:Thing-v0", "there is no module 'no_such_module'"),
        ("HalfCheetah-v4", "keep 'HalfCheetah-v4' with --engine gymnasium"),
        ("HalfCheetah-v3 --engine gymnasium", "cannot make environment 'HalfCheetah-v3'"),
    ],
)
def test_what_cannot_be_trained(env, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train(f"--env {env} --horizon 50") == 2
    err = capsys.readouterr().err
    assert err.startswith("pes-rl: error: ") and len(err.splitlines()) <= 3
    assert words in err and list(tmp_path.iterdir()) == []


def test_an_older_mujoco_task(tmp_path, capsys):
    flags = f"--env HalfCheetah-v4 --engine gymnasium {SMALL} --num-env-steps 80"
    assert train(flags, tmp_path / "run") == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run"), "--episodes", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["environment"], result["episode_length_mean"]) == ("HalfCheetah-v4", 1000)
