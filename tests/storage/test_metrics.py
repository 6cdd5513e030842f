"""metrics.jsonl and TensorBoard: complete, strict, cut back exactly on resume."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.runs.progress import Progress
from pes_rl.storage.metrics import METRICS, MetricsWriter, Written, read_metrics

BEST = "best/episode_return"


def row(update: float, **extra) -> dict:
    return {"env_steps": int(1500 * update), "update": update, "wall_time_s": 0.5, **extra}


def write(run: Path, updates, resumed: Written | None = None) -> list[Written]:
    """Write a row of each update, and return what a checkpoint after each of them would know."""
    with MetricsWriter(run, resumed) as writer:
        known = [writer.written(0)]
        for update in updates:
            writer.write(row(update))
            known.append(writer.written(update))
    return known


def updates(run: Path) -> list[int]:
    return [r["update"] for r in read_metrics(run)]


def events(run: Path) -> list:
    event_class = import_module("tensorboardX.proto.event_pb2").Event
    found = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            found.append(event_class.FromString(data[at + 12 : at + 12 + size]))
            at += 16 + size
    return found


def test_rows_are_strict_json_with_the_given_keys(tmp_path):
    rows = [
        row(1, **{"train/grad_norm": np.float32(0.5), "train/invalid_particles": np.int64(2)}),
        row(2, **{"eval/episode_return": np.nan, "train/grad_norm": np.float32(np.inf)}),
    ]
    with MetricsWriter(tmp_path) as writer:
        for r in rows:
            writer.write(r)
            # A row is there for others to read as soon as it has been written.
            assert read_metrics(tmp_path)[-1]["update"] == r["update"]
        writer.sync()

    def refuse(constant):
        raise AssertionError(constant)

    lines = (tmp_path / METRICS).read_text().splitlines()
    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert first == rows[0]
    assert list(first) == list(rows[0])
    assert second["eval/episode_return"] is None
    assert second["train/grad_norm"] is None


def test_tensorboard_has_the_same_scalars(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(row(1, **{"eval/episode_return": 2.5, "train/grad_norm": np.nan, "ok": True}))
        writer.write(row(2, **{"train/grad_norm": 1.5}))
        writer.write(row(3, **{"eval/episode_return": 2.0}))
    first, second, third = [e for e in events(tmp_path) if e.summary.value]
    assert first.step == 1500
    assert {v.tag: v.simple_value for v in first.summary.value} == {
        "update": 1,
        "wall_time_s": 0.5,
        "eval/episode_return": 2.5,
        "best/episode_return": 2.5,
        "ok": 1,
    }
    assert second.step == 3000
    assert third.step == 4500
    best = [v.simple_value for v in third.summary.value if v.tag == BEST]
    assert best == [2.5]  # of two evaluations, 2.5 and 2.0
    assert abs(first.wall_time - time.time()) < 60


TORN = [b"", b'{"env_steps": 5', b"\0\0\0\n", b'{"update": \n', b"5\n", b'\0\n{"a": 1}\n']


@pytest.mark.parametrize("torn", TORN)
def test_resume_cuts_back_to_the_checkpoint(tmp_path, torn, capsys):
    known = write(tmp_path, range(1, 6))[3]
    path = tmp_path / METRICS
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    write(tmp_path, [4, 5, 6], known)
    assert path.read_bytes().startswith(whole)
    assert updates(tmp_path) == [1, 2, 3, 4, 5, 6]
    starts = [e.step for e in events(tmp_path) if e.HasField("session_log")]
    assert starts == [4501]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2  # even within one second
    assert capsys.readouterr().err == ""


def test_resume_before_the_first_row_and_where_updates_have_no_rows(tmp_path, capsys):
    start = write(tmp_path, [])[0]
    write(tmp_path, [1, 2], start)
    assert updates(tmp_path) == [1, 2]
    known = write(tmp_path, [1, 4], start)[-1]._replace(update=6)  # 2, 3, 5 and 6 were not kept
    write(tmp_path, [7], known)
    assert updates(tmp_path) == [1, 4, 7]
    assert capsys.readouterr().err == ""


ALTERED = {
    "lost": ([1, 2], [1, 2], "it has 106 of the 159 bytes that training wrote"),
    "all lost": ([], [], "it has 0 of the 159 bytes that training wrote"),
    "doubled": ([1, 2, 2, 3, 4], [1, 2, 2, 3], "line 3 is of update 2, after one of 2"),
    "flipped": ([1, 7, 3, 4], [1, 7, 3], "its first 159 bytes are not those that training wrote"),
    "steps": ([1, -2, 3], [1, -2, 3], "line 2 has 30 env steps, after 1500"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_rows_that_were_altered_are_warned_about_and_kept(tmp_path, capsys, name):
    there, kept, words = ALTERED[name]
    known = write(tmp_path, [1, 2, 3])[-1]
    path = tmp_path / METRICS
    lines = [row(abs(u)) | ({} if u > 0 else {"env_steps": 30}) for u in there]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write(tmp_path, [8], known)
    warning = f"{path} was altered: {words}; look at it before you use it"
    assert capsys.readouterr().err == f"pes-rl: warning: {warning}\n"
    assert updates(tmp_path) == [*map(abs, kept), 8]


def test_rows_are_cut_by_their_update_where_an_older_checkpoint_says_no_more(tmp_path, capsys):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [3], Written(2))
    assert updates(tmp_path) == [1, 2, 3] and capsys.readouterr().err == ""


def test_hyperparameters_and_the_best_return_go_to_tensorboard(tmp_path):
    settings = {
        "estimator": "pes",
        "num_pairs": 8,
        "staggered": True,
        "sizes": (64, 32),
        "no": None,
        "none": (),
    }
    known: list[Written] = []
    for resumed, returns in ((None, [3.0, 1.0, 7.0]), (2, [2.0, 4.0, 5.0])):
        with MetricsWriter(tmp_path, known[resumed - 1] if resumed else None, settings) as writer:
            for update, value in enumerate(returns, 1 + (resumed or 0)):
                writer.write(row(update, **{"eval/episode_return": value}))
                known.append(writer.written(update))
    plugin_data = import_module("tensorboardX.proto.plugin_hparams_pb2").HParamsPluginData
    found = events(tmp_path)
    steps, shown = [], []
    for event in found:
        for value in event.summary.value:
            if value.tag == "_hparams_/session_start_info":
                assert value.metadata.plugin_data.plugin_name == "hparams"
                data = plugin_data.FromString(value.metadata.plugin_data.content)
                shown.append(data.session_start_info.hparams)
                steps.append(event.step)
    assert steps == [0, 3001]  # never before a step that stays: TensorBoard would drop that one
    for values in shown:
        assert set(values) == set(settings) - {"no", "none"}
        assert values["estimator"].string_value == "pes"
        assert values["num_pairs"].number_value == 8
        assert values["staggered"].bool_value is True
        assert values["sizes"].string_value == "64 32"
    # The 7 of the update that was cut off is forgotten, the 3 before it is not.
    best = [v.simple_value for e in found for v in e.summary.value if v.tag == BEST]
    assert best == [3, 3, 7, 3, 4, 5]


def test_a_damaged_row_has_its_line_named(tmp_path):
    write(tmp_path, [1, 2])
    with (tmp_path / METRICS).open("ab") as file:
        file.write(b"\0\0\0\n" + json.dumps(row(4)).encode() + b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 3; delete that line"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"update": "3"},
        {"env_steps": None},
        {"env_steps": 1.5},
        {"eval/episode_return": "high"},
        {"eval/episode_return": [1]},
        {"update": 10**400},
        {"wall_time_s": {}},
        None,
        [],
        "[" * 100_000,
    ],
)
def test_rows_of_other_types_are_damage(tmp_path, changed):
    write(tmp_path, [1])
    forged = row(2) | changed if isinstance(changed, dict) else changed
    line = forged if isinstance(forged, str) else json.dumps(forged)
    with (tmp_path / METRICS).open("a") as file:
        file.write(f"{line}\n{json.dumps(row(3))}\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 2; delete that line"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="is damaged in line 2"):
        MetricsWriter(tmp_path, Written(3, 9, "other"))


def test_errors(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_metrics(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        MetricsWriter(tmp_path / "file")
    with MetricsWriter(tmp_path) as writer, pytest.raises(ValueError, match="wall_time_s"):
        writer.write({"env_steps": 1, "update": 1})
    writer.close()


def test_progress_without_a_terminal_is_a_line_for_each_evaluation(capsys):
    with Progress(1000, "Hopper") as progress:
        progress.note("compiling")
        for step in range(1, 1001):
            current = math.nan if step < 500 else float(step // 20)
            progress.update(step, 2e4, current, current, evaluated=step in (400, 800))
    assert capsys.readouterr().err.splitlines() == [
        "compiling",
        "400 env steps: return none, best none, 20,000 env steps/s",
        "800 env steps: return 40.0, best 40.0, 20,000 env steps/s",
    ]


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with Progress(7_200_000, "Hopper [pes]") as progress:
        progress.note("compiling")
        for step in range(1, 3001):
            progress.update(step, 1000.0, -1.25, 3.5)
        progress.update(7_200_000, 1000.0, -1.25, 3.5)
    shown = capsys.readouterr().err
    for text in ("Hopper [pes]", "compiling", "1,000 env steps/s", "return -1.2", "best 3.5"):
        assert text in shown
    assert "2:00:00 left" in shown
    assert "0:00 left" in shown
    assert shown.count("env steps/s") < 20


def test_nothing_is_saved_after_a_row_that_is_missing(tmp_path, monkeypatch):
    with MetricsWriter(tmp_path) as writer:
        writer.write(row(1))
        writer.sync()
        with monkeypatch.context() as patch:
            patch.setattr(writer._events, "add", lambda row: os.close(-1))
            with pytest.raises(UserError, match="cannot write"):
                writer.write(row(2))
        with pytest.raises(UserError, match="lacks a row"):
            writer.sync()
