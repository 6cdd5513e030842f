"""What type checkers make of a program that uses the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import pytest

import pes_rl
from pes_rl.comparison.plan import FIXED
from pes_rl.config import CHANGEABLE, OPTIONS
from pes_rl.config.overrides import Changes, Options, Overrides

PROGRAM = """\
import pes_rl

run = pes_rl.train("Swimmer", run_dir="out", estimator="pes", num_pairs=8, hidden_sizes=[8])
run = pes_rl.resume(run, num_env_steps=6_000, learning_rate=1e-3, checkpoint_every="10min")
pes_rl.compare("Swimmer", out="out", num_pairs=8, shaping="std")
print(run.best_return + 1.0, run.policy.theta, run.metrics[0]["env_steps"])
"""
MISTAKES = """
pes_rl.train("Swimmer", num_pair=8)
pes_rl.train("Swimmer", num_pairs="many")
pes_rl.train("Swimmer", estimator="pse")
pes_rl.resume(run, num_pairs=8)
pes_rl.compare("Swimmer", out="out", seed=3)
"""


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        (Overrides, set(OPTIONS) - {"env"}),
        (Changes, set(CHANGEABLE)),
        (Options, set(OPTIONS) - set(FIXED)),
    ],
)
def test_keywords_are_the_fields_of_a_configuration(keywords, names):
    hints = get_type_hints(keywords)
    assert hints.keys() == names and not keywords.__required_keys__
    # Lists do as well for the one field that is a tuple.
    kinds = {name: OPTIONS[name].kind for name in names}
    if "hidden_sizes" in names:
        kinds["hidden_sizes"] = Sequence[int]
    assert hints == kinds


@pytest.mark.slow  # 5 s
def test_a_type_checker_finds_what_is_misspelt(tmp_path):
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists() or shutil.which("node") is None:
        pytest.skip("needs pyright, which needs Node")
    program = tmp_path / "program.py"
    source = Path(pes_rl.__file__).parents[1]
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{source}"]}}')
    found = []
    for text in (PROGRAM, PROGRAM + MISTAKES):
        program.write_text(text)
        done = subprocess.run(
            [str(pyright), "--pythonpath", sys.executable, "-p", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        found.append([line for line in done.stdout.splitlines() if " error: " in line])
    assert found[0] == []
    first = len(PROGRAM.splitlines()) + 2
    lines = [int(line.split("program.py:")[1].split(":")[0]) for line in found[1]]
    assert sorted(lines) == list(range(first, first + 5)), found[1]
