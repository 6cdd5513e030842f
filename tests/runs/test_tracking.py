"""Experiment trackers: what they are sent, and what becomes of a run when they fail."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorboardX.writer

from pes_rl.config import build_config
from pes_rl.errors import UserError
from pes_rl.runs import tracking
from pes_rl.storage.metrics import MetricsWriter
from pes_rl.storage.run_folder import read_properties

CONFIG = build_config({"env": "InvertedPendulum"})


class Tracker:
    """Stands in for a tracker; keeps what it is sent, and who asked for it."""

    def __init__(self):
        self.opened, self.rows, self.finished = [], [], 0

    @contextlib.contextmanager
    def open(self, run: Path, config: Any, number: str | None):
        self.opened.append((run, config, number))
        yield "id 7", self.log
        self.finished += 1

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if row["update"] == 9:
            raise OSError("the network is down")


@pytest.fixture
def tracker(monkeypatch):
    made = Tracker()
    monkeypatch.setitem(tracking.TRACKERS, "json", ("json", made.open))
    return made


def row(update: int, **more: Any) -> dict[str, Any]:
    return {"env_steps": 500 * update, "update": update, "wall_time_s": 1.0, **more}


def test_a_tracker_is_sent_what_tensorboard_is_and_goes_on_when_resumed(tracker, tmp_path):
    score = {"eval/episode_return": 3.0, "train/grad_norm": float("nan"), "none": None}
    for _ in range(2):
        with tracking.tracking("json", tmp_path, CONFIG) as log:
            for sent in (row(1), row(3, **score), row(4)):
                log(sent)
    assert [number for _, _, number in tracker.opened] == [None, "id 7"]
    assert read_properties(tmp_path) == {"trackers": {"json": "id 7"}}
    assert tracker.finished == 2 and [sent["update"] for sent in tracker.rows[:3]] == [1, 3, 4]
    assert tracker.rows[1] == row(3, **{"eval/episode_return": 3.0})


def test_a_tracker_that_fails_ends_nothing(tracker, tmp_path, capsys):
    with tracking.tracking("json", tmp_path, CONFIG) as log:
        for update in (1, 9, 20, 30):
            log(row(update))
    assert [sent["update"] for sent in tracker.rows] == [1, 9]
    assert capsys.readouterr().err == (
        "pes-rl: warning: json gets no more of this run: the network is down\n"
    )


def test_trackers_that_cannot_be_used(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="track must be wandb or mlflow, not 'wandbb'"):
        tracking.require_tracker("wandbb")
    for spec in (None, SimpleNamespace(origin=None)):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, spec=spec: spec)
        with pytest.raises(UserError, match="--track mlflow needs a package: pip install mlflow-s"):
            tracking.require_tracker("mlflow")

    def refuse(*_):
        raise RuntimeError("not logged in\nfor long")

    monkeypatch.setitem(tracking.TRACKERS, "json", ("json", refuse))
    with (
        pytest.raises(UserError, match=r"json cannot track the run: not logged in$"),
        tracking.tracking("json", tmp_path, CONFIG),
    ):
        pass


def test_events_go_through_the_class_that_trackers_replace(monkeypatch, tmp_path):
    """As ``wandb.init(sync_tensorboard=True)`` does, to learn of folders with events."""
    told = []

    class Patched(tensorboardX.writer.EventFileWriter):
        def __init__(self, logdir: str, *arguments: Any, **options: Any):
            told.append(logdir)
            super().__init__(logdir, *arguments, **options)

    monkeypatch.setattr(tensorboardX.writer, "EventFileWriter", Patched)
    with MetricsWriter(tmp_path) as writer:
        writer.write(row(1))
        writer.sync()
        [events] = tmp_path.glob("events.out.tfevents.*")
        assert b"wall_time_s" in events.read_bytes()  # on disk once it has been synced
    assert told == [str(tmp_path)]


SCRIPT = """
import pes_rl, sys
small = {"num_env_steps": 4000, "eval_every": 2000, "eval_episodes": 1, "num_threads": 1}
if sys.argv[1] == "sync":
    import wandb
    wandb.init(sync_tensorboard=True)
    pes_rl.train("InvertedPendulum", run_dir="run", **small)
    wandb.finish()
else:
    run = pes_rl.train("InvertedPendulum", run_dir="run", track=sys.argv[1], **small)
    pes_rl.resume(run, num_env_steps=8000, track=sys.argv[1])
"""


def work(mode: str, folder: Path) -> None:
    own = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    own |= {"MLFLOW_TRACKING_URI": f"file:{folder}/mlruns"}
    own |= {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", SCRIPT, mode]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows in W&B's files: records in blocks, as LevelDB has its log."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (left := 32768 - at % 32768) < 7:
                at += left
                continue
            size, kind = struct.unpack_from("<HB", data, at + 4)
            part = data[at + 7 : at + 7 + size]
            record, at = (record + part if kind in (3, 4) else part), at + 7 + size
            if kind in (1, 4):
                items = records.Record.FromString(record).history.item
                found.append(
                    {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                )
    return [items for items in found if items]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="W&B is not installed")
@pytest.mark.parametrize("mode", ["wandb", "sync"])
def test_wandb_gets_every_evaluation(mode, tmp_path):
    if mode == "sync":
        pytest.importorskip("tensorboard")
    work(mode, tmp_path)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    key = "eval/episode_return"
    written = [r["update"] for r in map(json.loads, lines) if key in r]
    assert [r["update"] for r in history(tmp_path) if key in r] == written and len(written) > 1
    assert len(set(tmp_path.glob("wandb/offline-run-*"))) == (1 if mode == "sync" else 2)
    assert len({path.name for path in tmp_path.glob("wandb/*/*.wandb")}) == 1  # one run


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="MLflow is not installed")
def test_mlflow_gets_every_evaluation(tmp_path):
    work("mlflow", tmp_path)
    [metric] = tmp_path.glob("mlruns/0/*/metrics/eval/episode_return")
    steps = [int(line.split()[2]) for line in metric.read_text().splitlines()]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [r for r in map(json.loads, lines) if "eval/episode_return" in r]
    assert steps == [r["env_steps"] for r in rows] and len(steps) > 2
