"""Which run folders a worker trains anew, and which it refuses; training itself is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from pes_rl.comparison import worker
from pes_rl.comparison.plan import make_plan
from pes_rl.errors import UserError

[CELL] = make_plan(["Swimmer"], ["es"], 1, 0, 1000).cells


class Worker:
    """``started`` holds, for each run begun anew, whether its folder and its score were there."""

    def __init__(self, folder: Path):
        self.run, self.scored = folder / "run", folder / "score.json"
        self.started: list[tuple[bool, bool]] = []
        self.env_steps = 1000

    def start(self, config, run, command):
        self.started.append((run.exists(), self.scored.exists()))
        return self

    def train(self) -> int:
        return worker._train_run(CELL.config, self.run, self.scored, "pes-rl compare")


@pytest.fixture
def job(tmp_path, monkeypatch) -> Worker:
    job = Worker(tmp_path)
    monkeypatch.setattr("pes_rl.runs.run.train_from_config", job.start)
    return job


def test_a_run_killed_before_it_saved_anything_begins_again(job):
    job.run.mkdir()
    (job.run / "metrics.jsonl").write_text("")
    assert job.train() == 1000
    assert job.started == [(False, False)]


def test_a_finished_run_without_checkpoints_is_never_deleted(job):
    """Somebody has made room: its curve and its policy are still worth keeping."""
    job.run.mkdir()
    (job.run / "metrics.jsonl").write_text("precious")
    job.scored.write_text("{}")
    with pytest.raises(UserError, match="run has lost its checkpoints; put them back, or delete"):
        job.train()
    assert (job.run / "metrics.jsonl").read_text() == "precious" and not job.started


def test_the_score_of_a_deleted_run_is_forgotten_first(job):
    """Else a new run that is killed on its way would be taken for a finished one."""
    job.scored.write_text("{}")
    assert job.train() == 1000
    assert job.started == [(False, False)]
