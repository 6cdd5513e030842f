"""The programs in examples/ run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pes_rl
from pes_rl.envs.jax_environment import check_environment
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_loop_of_one_s_own(tmp_path, capsys):
    main = runpy.run_path(str(EXAMPLES / "train_own_loop.py"))["main"]
    main("4e3", str(tmp_path / "policy"))
    lines = capsys.readouterr().out.splitlines()
    assert "env steps: return" in lines[0] and lines[-1].startswith("best ")
    assert pes_rl.load_policy(tmp_path / "policy").scores["env_steps"] >= 4000


def test_an_environment_of_one_s_own_in_jax():
    environment = runpy.run_path(str(EXAMPLES / "jax_environment.py"))["make"]()
    check_environment(environment, "jax_environment:make")
    trainer = DeviceTrainer(configure(), environment=environment)
    rows = trainer.advance() + trainer.advance()
    assert -14 < rows[0]["train/segment_return"] < 0  # it hangs down
    assert rows[-1]["env_steps"] > 0 and not rows[-1]["train/invalid_particles"]
