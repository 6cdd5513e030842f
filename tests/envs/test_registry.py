"""The table of environments is what Gymnasium says, and names lead somewhere."""

from __future__ import annotations

import pytest

from pes_rl.config import (
    build_config,
)
from pes_rl.envs.registry import OFFICIAL, resolve
from pes_rl.errors import UserError


def test_the_table_is_gymnasiums():
    import gymnasium

    for task in OFFICIAL.values():
        spec = gymnasium.registry[task.gymnasium_id]
        assert spec.max_episode_steps == task.horizon
        assert resolve(task.gymnasium_id) == resolve(task.name) == task
        if task.name in ("Reacher", "InvertedPendulum", "InvertedDoublePendulum"):
            assert spec.reward_threshold == task.threshold


@pytest.mark.parametrize("task", OFFICIAL.values(), ids=lambda task: task.name)
def test_the_tables_sizes_are_gymnasiums(task, tmp_path, monkeypatch):
    import gymnasium

    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into the working directory
    env = gymnasium.make(task.gymnasium_id)
    assert env.observation_space.shape == (task.observation_size,)
    assert env.action_space.shape == (task.action_size,)
    env.close()


@pytest.mark.parametrize(
    ("name", "engine", "words"),
    [
        ("HalfChetah", None, "did you mean 'HalfCheetah'?"),
        ("halfcheetah", None, "did you mean 'HalfCheetah'?"),
        ("HalfChetah-v5", None, "did you mean 'HalfCheetah-v5'?"),
        ("CartPole", None, "did you mean 'CartPole-v1'?"),
        ("HalfCheetah-v4", None, "v5"),
        ("HalfCheetah-v4", "mujoco", "v5"),
        ("CartPole-v1", "mujoco", "--engine gymnasium"),
        ("no_such_module:Thing-v0", None, "no_such_module"),
        ("", None, "unknown environment ''"),
    ],
)
def test_unknown_environments(name, engine, words):
    with pytest.raises(UserError) as caught:
        resolve(name, engine)
    assert words in str(caught.value)


def test_other_gymnasium_ids_use_the_gymnasium_engine():
    config = build_config({"env": "Pendulum-v1"})
    assert (config.engine, config.horizon, config.segment_length) == ("gymnasium", 200, 50)
    assert build_config({"env": "HalfCheetah-v4", "engine": "gymnasium"}).env == "HalfCheetah-v4"
    assert build_config({"env": "HalfCheetah-v5", "engine": "gymnasium"}).env == "HalfCheetah"
    with pytest.raises(UserError, match="no time limit"):
        build_config({"env": "tabular/Blackjack-v0"})
