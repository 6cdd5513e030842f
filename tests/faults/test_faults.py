"""Some cases of each class of faults; ``python -m benchmarks.faults`` has all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LEAST = {"kills": 20, "corruption": 40, "power": 15, "storage": 8, "signals": 8, "forged": 60}


def test_every_case_continues_bit_for_bit_or_is_one_line(tmp_path):
    # In a process of its own, since children are forked from what has compiled already.
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "--scale",
        "quick",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "--classes", *LEAST],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    for name, least in LEAST.items():
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found["tried"] >= least, found
        assert found["failures"] == []
    assert (tmp_path / "table.md").read_text().count("\n") == len(LEAST) + 3
