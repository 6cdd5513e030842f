"""Evaluations that broke down, in a comparison."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pes_rl.comparison.api import _result
from pes_rl.comparison.curves import read_curve
from pes_rl.comparison.plan import make_plan
from pes_rl.comparison.store import Store
from pes_rl.comparison.worker import _require_sound
from pes_rl.errors import UserError
from pes_rl.storage.checkpoint import save_checkpoint

[CELL] = make_plan(["Swimmer"], ["es"], 1, 0, 1000).cells
LOST = {
    "episode_return_mean": None,
    "episode_return_std": None,
    "episodes": 100,
    "seed": 1_000_000,
}


def test_a_broken_evaluation_counts_as_the_lowest_of_its_run(tmp_path):
    rows = [
        {"env_steps": 100 * i, "update": i, "eval/episode_return": value}
        for i, value in enumerate((3.0, 1.0, None, 2.0), 1)
    ]
    rows.insert(2, {"env_steps": 250, "update": 2})
    timed = [row | {"wall_time_s": 1.0} for row in rows]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in timed))
    curve = read_curve(tmp_path, CELL.config, 2.0, LOST)
    np.testing.assert_array_equal(curve.returns, [2, 3, 1, 1, 2])
    np.testing.assert_array_equal(curve.env_steps, [0, 100, 200, 300, 400])
    assert curve.score is not None and curve.score.mean == 1 and math.isnan(curve.score.std)
    assert curve.broken == 2
    assert read_curve(tmp_path, CELL.config, None, LOST).returns[0] == 1


def test_a_broken_score_is_said(tmp_path):
    store = Store(tmp_path)
    store.run(CELL).mkdir(parents=True)
    (store.run(CELL) / "config.yaml").touch()
    store.score_file(CELL).parent.mkdir()
    store.score_file(CELL).write_text(json.dumps({"env_steps": 1000, "score": LOST}))
    assert "broke down" in _result(store, CELL)


@pytest.mark.parametrize(
    ("best", "barren", "words"),
    [(1.0, 0, None), (1.0, 7, "in every update"), (-math.inf, 0, "in every evaluation")],
)
def test_a_run_without_a_sound_evaluation_is_not_compared(best, barren, words, tmp_path):
    health = {"idle": barren, "broken": barren, "barren": barren}
    meta = {"env_steps": 1000, "update": 7, "best_return": best, "health": health}
    save_checkpoint(tmp_path, 1000, {"a": np.zeros(1)}, meta)
    if words is None:
        _require_sound(tmp_path)
        return
    with pytest.raises(UserError, match=words):
        _require_sound(tmp_path)
