"""Parts of the papers' size, on a few pixels: resumed, spread, in chunks, predicted, concluded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.errors import UserError
from pes_rl.problems.small_images import drawn_digits
from pes_rl.reproductions import hyperparameters, hyperparameters_paper, many_hyperparameters_paper
from pes_rl.reproductions.paper import contest, cost, engine, run
from pes_rl.reproductions.paper.part import Part, column
from pes_rl.reproductions.paper.run import Ask, run_part
from pes_rl.storage.checkpoint import load_latest
from tests.tools.run_tools import StopAfter

SMALL = {"sizes": (15, 6, 5, 10), "particles": 8, "horizon": 6, "segment_length": 2, "runs": 2}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Digits of 15 pixels in place of any images, and no waiting for matrix products."""
    data = drawn_digits(count=300, held_out=60)
    monkeypatch.setattr(contest, "_images", lambda name: (data.train, data.held_out))
    monkeypatch.setattr(cost, "speed", lambda: 1e9)


def part(style="es-single", **changes):
    one = hyperparameters_paper.contests()[0]
    settings = SMALL | {"updates": 10, "seeds": (0, 1)} | changes
    tuning = one.tuning
    object.__setattr__(one, "tuning", lambda *data: replace(tuning(*data), hidden=(6, 5), batch=8))
    return replace(one, **settings).part(style)


def ask(said=None, **asked):
    note = [].append if said is None else said.append
    return Ask(asked.pop("stop", ()), note, **asked)


def test_a_random_search_counts_whole_trainings_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_CALL_S", 0.0)
    # An update is two of six inner steps.
    found = run_part(part("random-search"), tmp_path, ask(num_updates=8)).rows
    best = [row["best"] for row in found]
    assert np.isinf(best[:2]).all() and np.isfinite(best[2]).all()
    assert best[2] == best[3] == best[4] and best[5] == best[6]
    assert np.all(np.array(best[5]) <= best[2])
    assert np.all(np.array(best[2]) > 1.0)  # nats per inner step, near log 10 at first


@pytest.mark.parametrize("style", ["pes", "random-search"])
def test_a_stopped_part_goes_on_bit_for_bit(style, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_CALL_S", 0.0)
    one = part(style)
    whole = run_part(one, tmp_path / "whole", ask(num_updates=7))
    assert not whole.complete and list(whole.updates) == list(range(1, 8))
    stopped = run_part(one, tmp_path / "cut", ask(stop=StopAfter(5)))
    assert 0 < stopped.updates[-1] < 7
    rows = run_part(one, tmp_path / "cut", ask(num_updates=7)).rows
    assert rows == whole.rows
    a, b = (load_latest(tmp_path / name).arrays for name in ("whole", "cut"))
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)
    assert len(a) > 10 and rows[-1]["theta"][0] != rows[-1]["theta"][1]


def test_a_complete_part_is_judged_and_not_begun_again(tmp_path):
    done = run_part(part(), tmp_path, ask())
    assert done.complete and done.result and len(done.result["loss"]) == 2
    assert done.column("theta").shape == (2, 10, 2)
    assert not (tmp_path / "checkpoints").exists()
    said = []
    assert run_part(part(), tmp_path, ask(said)).rows == done.rows
    assert said == ["loss-k10-es-single: complete"]


def test_a_part_is_not_continued_with_other_settings(tmp_path):
    run_part(part(), tmp_path, ask(num_updates=2))
    with pytest.raises(UserError, match="begun with other settings"):
        run_part(part(rate=0.5), tmp_path, ask())


def test_seeds_one_after_the_other_find_the_same(tmp_path, monkeypatch):
    together = run_part(part(), tmp_path / "a", ask())
    needed = cost.needed
    monkeypatch.setattr(cost, "room", lambda device: 10**6)
    monkeypatch.setattr(
        cost, "needed", lambda engine: 2 * 10**6 if len(engine._keys) > 1 else needed(engine) * 0
    )
    apart = run_part(part(), tmp_path / "b", ask())
    assert [row["seeds"] for row in apart.rows] == [[0]] * 10 + [[1]] * 10
    np.testing.assert_allclose(apart.column("theta"), together.column("theta"), atol=1e-4)


def test_chunks_find_the_same(tmp_path):
    for style in ("pes", "random-search"):
        whole = run_part(part(style), tmp_path / style / "a", ask(num_updates=4))
        chunks = run_part(part(style), tmp_path / style / "b", ask(num_updates=4, chunk=2))
        np.testing.assert_allclose(chunks.column("loss"), whole.column("loss"), rtol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "room", lambda device: 10)
    monkeypatch.setattr(cost, "needed", lambda engine: 2 * 10**9)
    monkeypatch.setattr(cost.Engine, "state_bytes", 1, raising=False)
    with pytest.raises(UserError, match=r"needs about 2 GB .* 10 B are free"):
        run_part(part(), tmp_path, ask())


def test_a_resumed_part_predicts_the_memory_of_one_that_begins(tmp_path, monkeypatch):
    held, predicted = [10**9], []
    monkeypatch.setattr(cost, "status", lambda name: sum(held))
    for last in (2, 4):
        run_part(part(), tmp_path, ask(num_updates=last))
        predicted.append(json.loads((tmp_path / "cost.json").read_text())["memory_predicted"])
        held.append(sum(array.nbytes for array in load_latest(tmp_path).arrays.values()))
    assert held[1] > 1000 and predicted[0] == predicted[1]


def test_random_search_keeps_the_best_whole_training(tmp_path):
    one = part("random-search", updates=30)
    found = run_part(one, tmp_path, ask())
    best = found.column("best")
    assert (np.diff(best[:, 2:]) <= 0).all() and np.isfinite(best[:, 2:]).all()
    assert best[0, -1] < best[0, 2] or best[1, -1] < best[1, 2]
    low, high = hyperparameters_paper.LOW, hyperparameters_paper.HIGH
    theta = found.column("theta")[:, -1]
    assert (theta > low).all() and (theta < high).all()


def test_column_is_what_all_seeds_have():
    rows = [{"update": u, "seeds": [0], "x": [u / 2]} for u in (1, 2, 3)]
    rows += [{"update": 1, "seeds": [5], "x": [7]}]
    np.testing.assert_array_equal(column(rows, "x"), [[0.5], [7]])


SHARDS = """
import sys, jax, numpy as np
from pathlib import Path
from tests.reproductions import test_paper
from pes_rl.problems.small_images import drawn_digits
from pes_rl.reproductions.paper import contest, engine
from pes_rl.training.placement import make_mesh
data = drawn_digits(count=300, held_out=60)
contest._images = lambda name: (data.train, data.held_out)
folder, style, thetas = Path(sys.argv[1]), sys.argv[2], []
for count in (1, 4):
    engine.local_mesh = lambda pairs, cores: make_mesh(jax.devices()[:count])
    asked = test_paper.ask(num_updates=6)
    made = test_paper.run_part(test_paper.part(style), folder / str(count), asked)
    thetas.append(np.stack([made.column("theta")[..., 0], made.column("loss")]))
print(float(np.abs(thetas[0] / thetas[1] - 1).max()), len(jax.devices()))
"""


@pytest.mark.parametrize("style", ["pes", pytest.param("random-search", marks=pytest.mark.slow)])
def test_devices_find_the_same(tmp_path, style):
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDS, str(tmp_path), style],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    error, devices = done.stdout.split()
    assert float(error) < 1e-5 and devices == "4"


def test_saving_a_large_state_is_counted():
    """Beside it there are its bytes and the file's; of several devices' it is gathered before."""
    cpu = np.array(jax.devices("cpu")[:1])
    for size, work, expected in ((1, 10, 300), (4, 10, 400), (4, 1000, 1000)):
        mesh = SimpleNamespace(size=size, devices=cpu)
        engine = SimpleNamespace(work_bytes=work, state_bytes=100, mesh=mesh)
        assert cost.needed(engine) == expected


def test_the_papers_networks():
    """Weights as in the authors' code: 784-100-100-10, and five layers of 100 with 29 numbers."""
    low, high = many_hyperparameters_paper.ends(many_hyperparameters_paper.SEARCHED)
    assert len(low) == len(high) == 29
    begun = many_hyperparameters_paper.start(jax.random.key(0))
    assert (
        begun.shape == (29,) and (np.array(low) <= begun).all() and (begun <= np.array(high)).all()
    )
    parts = [*hyperparameters_paper.parts(), *many_hyperparameters_paper.parts()]
    assert len({one.name for one in parts}) == len(parts) == 20
    assert parts[0].steps == 10_000 and parts[-1].total_steps == 4 * 50_000 * 100


def test_the_command(tmp_path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(engine, "start_devices", lambda: started.append(True))

    def few() -> tuple[Part, ...]:
        assert started  # for it may compute something
        return part(), part("random-search")

    made = replace(
        hyperparameters.EXPERIMENT,
        paper=hyperparameters.EXPERIMENT.paper._replace(
            parts=few,
            conclude=lambda found, report: [
                report.claim(name, "here", "so", one.complete or None)
                for name, one in found.items()
            ],
        ),
    )
    monkeypatch.setattr(hyperparameters, "EXPERIMENT", made)
    line = ["reproduce", "hyperparameters", "--size", "paper", "--out", str(tmp_path)]
    assert main([*line, "--part", "loss"]) == 2
    assert "unknown part 'loss'" in capsys.readouterr().err
    assert main([*line, "--list"]) == 0
    assert "2 seeds x     10 updates" in capsys.readouterr().out
    assert main([*line, "--part", "loss-k10-es-single"]) == 0
    said = capsys.readouterr()
    assert "predicted peak" in said.err and "s an update" in said.err
    assert "| loss-k10-random-search | here | so | not run yet |" in said.out
    assert json.loads((tmp_path / "result.json").read_text())["size"] == "paper"
    spent = json.loads((tmp_path / "parts/loss-k10-es-single/cost.json").read_text())
    assert spent["memory_predicted"] > 0
