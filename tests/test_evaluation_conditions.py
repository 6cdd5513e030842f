"""Scores of episodes side by side, and under other conditions than those of training."""

from __future__ import annotations

import csv
import json

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

import pes_rl
from pes_rl import cli
from pes_rl.envs.registry import resolve
from pes_rl.errors import UserError
from pes_rl.evaluation.batched import can_batch, play_batched
from pes_rl.evaluation.episodes import counted
from pes_rl.evaluation.noise import Noise
from pes_rl.evaluation.official import play_official
from pes_rl.policies import make_policy
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.policy import save_policy
from tests.test_evaluation import saved

LOW = {"healthy_z_range": [0.5, 2.5], "reset_noise_scale": 0.05, "max_episode_steps": 60}
NOISE = Noise(observation=0.3, action=0.2)


def both(policy, kwargs, noise=NOISE, episodes=5):
    """Outcomes of Gymnasium's steps and of the engine's."""
    environment = resolve(policy.environment["gymnasium_id"], "gymnasium", kwargs)
    policy.environment["kwargs"] = kwargs
    found = play_batched(policy, environment, episodes, 7, noise)
    return play_official(policy, episodes, 7, noise), found


@pytest.mark.parametrize("noise", [Noise(), NOISE], ids=["quiet", "noisy"])
@pytest.mark.parametrize(
    ("task", "kind", "kwargs"),
    [
        ("Swimmer", "mlp", {"max_episode_steps": 200}),
        ("HalfCheetah", "linear", {"frame_skip": 2, "max_episode_steps": 150}),
        ("Hopper", "gru", {}),
        ("Walker2d", "linear", LOW),
        ("Ant", "linear", {"max_episode_steps": 40}),
        ("Reacher", "mlp", {}),
        ("InvertedDoublePendulum", "linear", {}),
    ],
)
def test_side_by_side_is_gymnasium_to_the_bit(tmp_path, monkeypatch, task, kind, kwargs, noise):
    monkeypatch.setattr("pes_rl.evaluation.batched._AT_A_TIME", 3)  # five episodes in two batches
    official, found = both(saved(tmp_path, f"{task}-v5", kind), kwargs, noise)
    for name in ("returns", "lengths", "terminated"):
        assert np.array_equal(getattr(official, name), getattr(found, name)), name
    assert len(set(found.returns)) == 5 and np.isnan(found.success).all()
    if task in ("Hopper", "Walker2d"):
        assert found.terminated.any() and len(set(found.lengths)) > 1


def test_what_breaks_down_breaks_down_side_by_side(tmp_path):
    policy = saved(tmp_path, "Swimmer-v5")
    policy.theta[:] = np.nan
    official, found = both(policy, {}, Noise())
    assert np.isnan(found.returns).all() and np.isnan(official.returns).all()
    assert found.lengths.tolist() == official.lengths.tolist() == [1] * 5


def test_what_is_not_gymnasiums_to_the_bit_is_played_by_gymnasium():
    for name, kwargs, wrappers in (
        ("Humanoid", {}, None),
        ("HumanoidStandup", {}, None),
        ("Hopper", {"xml_file": "x.xml"}, None),
        ("Hopper", {}, "mine:wrap"),
    ):
        assert not can_batch(resolve(f"{name}-v5", "gymnasium", kwargs, wrappers))
    assert not can_batch(resolve("Hopper-v4", "gymnasium"))
    assert can_batch(resolve("Hopper-v5", "gymnasium", LOW))


def test_noise_has_the_deviations_that_it_says(tmp_path):
    policy = saved(tmp_path, "Reacher-v5")
    assert policy.normalizer is not None
    seen, done = NOISE.spreads(policy)
    deviations = np.sqrt(policy.normalizer.m2 / policy.normalizer.total)
    np.testing.assert_allclose(seen, 0.3 * deviations)
    np.testing.assert_allclose(done, 0.2)
    wide = ActionSpec("box", 2, (-4.0, -np.inf), (0.0, np.inf))
    object.__setattr__(policy, "action", wide)
    np.testing.assert_allclose(NOISE.spreads(policy)[1], [0.4, 0.2])


def test_conditions_are_said_and_written(tmp_path, capsys):
    saved(tmp_path / "policy", "Hopper-v5")
    out = tmp_path / "rows.csv"
    command = ["evaluate", str(tmp_path / "policy"), "--episodes", "4", "--seed", "2"]
    command += ["--env-kwargs", '{"reset_noise_scale": 0.2}', "--observation-noise", "0.1"]
    assert cli.main([*command, "--out", str(out)]) == 0
    text, err = capsys.readouterr()
    assert 'Hopper-v5 with {"reset_noise_scale": 0.2}, observation noise 0.1\n' in text
    assert "\nnot solved: a mean of 3120 counts as solved\n" in text and err == ""
    assert cli.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    returns = [row["return"] for row in result["per_episode"]]
    assert (result["episode_return_min"], result["episode_return_max"]) == (
        min(returns),
        max(returns),
    )
    assert (result["threshold"], result["solved"], result["success_rate"]) == (3120, False, None)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seed"]) for row in rows] == [2, 3, 4, 5]
    assert [float(row["return"]) for row in rows] == returns
    assert {row["end"] for row in rows} == {"terminated"} and rows[0]["success"] == ""
    plain = pes_rl.evaluate(tmp_path / "policy", 4, 2)
    assert plain["env_kwargs"] == {} and plain["episode_return_min"] != min(returns)


class Goal(gymnasium.Env):
    """Episodes of odd seeds end well."""

    observation_space, action_space = Box(-1, 1, (1,), np.float64), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.odd = 0, seed is not None and seed % 2 == 1
        return np.zeros(1), {}

    def step(self, action):
        self.steps += 1
        ends = self.odd and self.steps == 3
        return np.zeros(1), 1.0, ends, False, {"is_success": ends}


def test_successes_are_counted_where_infos_have_them(tmp_path, monkeypatch):
    spec = EnvSpec("Goal-v0", Goal, max_episode_steps=5, reward_threshold=4.0)  # pyright: ignore
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    policy = make_policy("linear", 1, 2, ())
    about = {"name": spec.id, "gymnasium_id": spec.id, "engine": "gymnasium", "horizon": 5}
    action = ActionSpec("discrete", 2)
    save_policy(tmp_path, policy, np.zeros(policy.num_params), None, action, about, {})
    result = pes_rl.evaluate(tmp_path, 4, observation_noise=0.1)
    assert (result["success_rate"], result["threshold"], result["solved"]) == (0.5, 4.0, True)
    assert [row["success"] for row in result["per_episode"]] == [False, True, False, True]
    assert [row["end"] for row in result["per_episode"]] == ["truncated", "terminated"] * 2
    with pytest.raises(UserError, match="means nothing for discrete actions"):
        pes_rl.evaluate(tmp_path, 1, action_noise=0.1)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--action-noise", "-1"], "action_noise must be at least 0, not -1"),
        (["--observation-noise", "much"], "observation_noise must be a finite number"),
        (["--env-kwargs", "[1]"], "env_kwargs must be a JSON object"),
        (["--env-kwargs", '{"frame_skip": 0}'], "must be a positive whole number"),
        (["--out", "rows.txt"], "must be a .csv file"),
        (["--out", "nowhere/rows.csv"], "nowhere is no folder"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(tmp_path, capsys, flags, words):
    saved(tmp_path, "Reacher-v5")
    assert cli.main(["evaluate", str(tmp_path), "--episodes", "1", *flags]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


def test_a_terminal_sees_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pes_rl.console.is_terminal", lambda: True)
    with counted(4) as report:
        report(1.5)
    assert "1 of 4 episodes" in capsys.readouterr().err
    monkeypatch.setattr("pes_rl.console.is_terminal", lambda: False)
    pes_rl.evaluate(saved(tmp_path, "Reacher-v5").path, 1)
    assert capsys.readouterr().err == ""
