"""The programs in examples/ run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pes_rl

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_loop_of_one_s_own(tmp_path, capsys):
    main = runpy.run_path(str(EXAMPLES / "train_own_loop.py"))["main"]
    main("4e3", str(tmp_path / "policy"))
    lines = capsys.readouterr().out.splitlines()
    assert "env steps: return" in lines[0] and lines[-1].startswith("best ")
    assert pes_rl.load_policy(tmp_path / "policy").scores["env_steps"] >= 4000
