"""A comparison that is killed and asked again equals one that was left alone."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pes_rl.comparison.plan import make_plan
from pes_rl.comparison.store import Store
from pes_rl.storage.metrics import read_metrics
from tests.tools.run_tools import rows

PLAN = make_plan(
    ["InvertedPendulum"],
    ["es", "es-single"],
    2,
    0,
    16_000,
    episodes=2,
    options={"eval_every": 4000, "eval_episodes": 1, "checkpoint_every": 500, "num_pairs": 2}
    | {"log_every": 1},
)
FLAGS = "--no-timing --workers 2"


def start(out: Path, flags: str = FLAGS) -> subprocess.Popen:
    command = PLAN.command(str(out)).split()[1:] + flags.split()
    return subprocess.Popen(
        [sys.executable, "-m", "pes_rl", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(out: Path, flags: str = FLAGS) -> str:
    """Standard error of a comparison that ends well."""
    process = start(out, flags)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def saved(run: Path) -> int:
    """Env steps of the newest checkpoint."""
    return max((int(p.name) for p in (run / "checkpoints").glob("[0-9]*[0-9]")), default=0)


def interrupt(out: Path, number: signal.Signals, finished: int, flags: str = "") -> tuple[int, str]:
    """Send a signal once some runs are finished, and another is between checkpoints."""
    store, process = Store(out), start(out, f"{FLAGS} {flags}")

    def due() -> bool:
        done = [store.score(cell) is not None for cell in PLAN.cells]
        started = [0 < saved(store.run(c)) < c.config.num_env_steps for c in PLAN.cells]
        return sum(done) >= finished and any(started)

    while not due():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def identity(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert "[4/4]" in finish(out)
    return out


def test_killed_and_asked_again_equals_uninterrupted(whole, tmp_path):
    out = tmp_path / "out"
    code, _ = interrupt(out, signal.SIGKILL, finished=1)
    assert code == -signal.SIGKILL
    store = Store(out)
    finished = [cell for cell in PLAN.cells if store.score(cell) is not None]
    before = {cell.name: identity(store.run(cell)) for cell in finished}
    said = finish(out)
    assert len(finished) < 4 and f"[{len(finished) + 1}/4]" in said and "[1/4]" not in said
    assert {cell.name: identity(store.run(cell)) for cell in finished} == before
    for name in ("results.csv", "curves.csv", "summary.json", "summary.md", "plots/env_steps.svg"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    for cell in PLAN.cells:
        assert rows(store.run(cell)) == rows(Store(whole).run(cell))
    resumed = [cell for cell in PLAN.cells if len(commands(store.run(cell))) > 1]
    assert resumed and not set(resumed) & set(finished)  # from a checkpoint, not from the start


def commands(run: Path) -> list[str]:
    return (run / "command.txt").read_text().splitlines()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_runs(number, expected, tmp_path):
    out = tmp_path / "out"
    # A budget that no machine uses up between the first checkpoint and the signal.
    flags = "--estimators es-single --seeds 1 --num-env-steps 1_000_000"
    code, said = interrupt(out, number, finished=0, flags=flags)
    assert code == expected, said
    [log] = (out / "logs").iterdir()
    assert "Traceback" not in said + log.read_text()
    assert not (out / "summary.md").exists()
    # A row that was written has its checkpoint: nothing has to be trained again.
    [run] = (out / "runs").iterdir()
    assert saved(run) == read_metrics(run)[-1]["env_steps"] < 1_000_000


def test_a_finished_comparison_is_only_summarised_again(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = identity(out / "runs") | identity(out / "scores")
    assert "[" not in finish(out)
    assert identity(out / "runs") | identity(out / "scores") == before


def test_a_comparison_grows(whole, tmp_path):
    """More env steps continue a run, and what is not asked for any more stays as it is."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = identity(out / "runs")
    finish(out, "--num-env-steps 24000 --seeds 1 --estimators es --episodes 1 --timing")
    after = identity(out / "runs")
    grown = "InvertedPendulum__es__seed0"
    assert all(before[name] == after[name] for name in before if not name.startswith(grown))
    [row] = csv.DictReader(io.StringIO((out / "results.csv").read_text()))
    assert int(row["env_steps"]) >= 24_000 and row["rescored_episodes"] == "1"
    assert float(row["seconds_to_threshold"] or math.inf) > 0
    short, long = (rows(folder / "runs" / grown) for folder in (whole, out))
    assert long[: len(short)] == short and len(long) > len(short)
    summary = (out / "summary.md").read_text()
    assert "At equal wall-clock" in summary
    assert "InvertedPendulum__es-single__seed0" in summary  # as not part of this comparison
    assert (out / "plots" / "wall_clock.png").stat().st_size > 10_000


def test_a_run_that_fails_is_named(tmp_path):
    out = tmp_path / "out"
    store = Store(out)
    broken = store.run(PLAN.cells[0]) / "checkpoints" / "000000001000"
    broken.mkdir(parents=True)
    (out / "comparison.json").write_text("{}")
    process = start(out, f"{FLAGS} --estimators es --seeds 1")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "1 of 1 runs failed, InvertedPendulum es seed 0: no intact checkpoint" in said
    assert "pes-rl: error: " in said and "Traceback" not in said
