"""Environments of other packages, each from training to a page, where the package is there."""

from __future__ import annotations

import importlib

import pytest

import pes_rl
from pes_rl import cli
from pes_rl.config import build_config
from pes_rl.errors import UserError
from tests.tools.run_tools import train

TINY = "--num-pairs 1 --segment-length 5 --horizon 10 --num-env-steps 40 --eval-episodes 1"


@pytest.mark.parametrize(
    ("package", "env", "limit"),
    [
        ("shimmy", "dm_control/cheetah-run-v0", 1000),
        ("gymnasium_robotics", "gymnasium_robotics:PointMaze_UMaze-v3", 300),
    ],
)
def test_suites_of_gymnasium_environments(package, env, limit, tmp_path, capsys):
    pytest.importorskip(package)
    assert build_config({"env": env}).horizon == limit
    assert train(f"--env {env} {TINY} --num-threads 1 --eval-every 40", tmp_path / "run") == 0
    assert pes_rl.evaluate(tmp_path / "run", episodes=1)["episode_length_mean"] == limit
    assert cli.main(["render", f"{tmp_path}/run", "--out", f"{tmp_path}/page.html"]) == 0
    assert f"in {limit} env steps" in capsys.readouterr().out


@pytest.mark.parametrize("env", ["gymnax/CartPole-v1", "examples.jax_environment:make"])
def test_jax_environments_by_name(env, tmp_path, capsys):
    if env.startswith("gymnax"):
        pytest.importorskip("gymnax")
    config = build_config({"env": env})
    assert config.engine == "jax" and config.horizon > 50
    assert train(f"--env {env} {TINY} --eval-every 40", tmp_path / "run") == 0
    result = pes_rl.evaluate(tmp_path / "run", episodes=2)
    assert result["environment"] == env and 0 < result["episode_length_mean"] <= config.horizon
    assert cli.main(["render", f"{tmp_path}/run", "--out", f"{tmp_path}/page.html"]) == 2
    assert "JAX environments draw no pictures" in capsys.readouterr().err


def test_a_suite_that_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "pes_rl.envs.packages.find_spec", lambda name: None if name == "shimmy" else find(name)
    )
    with pytest.raises(UserError, match=r"shimmy is not installed; pip install 'pes-rl\[dm-con"):
        build_config({"env": "dm_control/none-such-v0"})
