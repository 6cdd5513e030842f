"""A killed run that is resumed equals an uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.metrics import read_metrics
from tests.tools.resume_driver import CHECKPOINT_AFTER, KILL_AFTER, UPDATES, cases

EXACT = [name for name in cases() if not name.endswith("gymnasium")]
TIMES = ("wall_time_s", "train/env_steps_per_second", "total/env_steps_per_second")


def drive(mode: str, folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.tools.resume_driver", mode, str(folder), *words],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path, str]:
    """Folders of uninterrupted and of killed and resumed runs, and what resuming said."""
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    names = list(cases())
    done = drive("whole", whole, *names)
    assert done.returncode == 0, done.stderr
    # The same updates make the same env steps, so this falls on the one that is meant.
    at = {name: read_metrics(whole / name)[CHECKPOINT_AFTER - 1]["env_steps"] for name in names}
    killed = drive("killed", broken, *(f"{name}={steps}" for name, steps in at.items()))
    assert killed.returncode == -9, killed.stderr
    for name in names:
        assert len(read_metrics(broken / name)) == KILL_AFTER
        assert load_latest(broken / name).meta["update"] == CHECKPOINT_AFTER
    resumed = drive("resumed", broken, *names)
    assert resumed.returncode == 0, resumed.stderr
    return whole, broken, resumed.stderr


@pytest.mark.parametrize("name", EXACT)
def test_arrays_equal_bit_for_bit(runs, name):
    whole, broken, _ = runs
    expected, got = load_latest(whole / name).arrays, load_latest(broken / name).arrays
    assert expected.keys() == got.keys()
    for key, array in expected.items():
        if key.endswith("opaque"):  # saved environments may be the same and have other bytes
            continue
        assert array.dtype == got[key].dtype
        np.testing.assert_array_equal(array, got[key], err_msg=key)


@pytest.mark.parametrize("name", EXACT)
def test_rows_equal_but_for_wall_times(runs, name):
    whole, broken, _ = runs
    expected, got = read_metrics(whole / name), read_metrics(broken / name)
    assert [row["update"] for row in got] == list(range(1, UPDATES + 1))
    for row in (*expected, *got):
        for key in TIMES:
            del row[key]
    assert expected == got


def test_an_episode_was_under_way_when_the_run_was_saved(runs):
    _, broken, _ = runs
    arrays = load_latest(broken / "Hopper-pes").arrays
    assert (arrays["train/estimator/clock"] > 0).any()


def test_opaque_engine_says_that_episodes_restart(runs):
    _, broken, stderr = runs
    assert "every pair starts a new episode" in stderr
    marks = {name: json.loads((broken / name / "run.json").read_text()) for name in cases()}
    assert marks["Reacher-gymnasium"] == {"exact_resume": False}
    assert marks["Hopper-pes"] == {"exact_resume": True}
    updates = [row["update"] for row in read_metrics(broken / "Reacher-gymnasium")]
    assert updates == list(range(1, UPDATES + 1))
