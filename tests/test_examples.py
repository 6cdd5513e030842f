"""The programs in examples/ run as they stand."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import pes_rl
from pes_rl.envs.jax_environment import check_environment
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_loop_of_one_s_own(tmp_path, capsys):
    main = runpy.run_path(str(EXAMPLES / "train_own_loop.py"))["main"]
    main("4e3", str(tmp_path / "policy"))
    lines = capsys.readouterr().out.splitlines()
    assert "env steps: return" in lines[0] and lines[-1].startswith("best ")
    assert pes_rl.load_policy(tmp_path / "policy").scores["env_steps"] >= 4000


def test_an_environment_of_one_s_own_in_jax():
    environment = runpy.run_path(str(EXAMPLES / "jax_environment.py"))["make"]()
    check_environment(environment, "jax_environment:make")
    trainer = DeviceTrainer(configure(), environment=environment)
    rows = trainer.advance() + trainer.advance()
    assert -14 < rows[0]["train/segment_return"] < 0  # it hangs down
    assert rows[-1]["env_steps"] > 0 and not rows[-1]["train/invalid_particles"]


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """Runs an example as it stands, in a folder of its own; what it printed, line by line."""

    def run(name: str, *words: str) -> list[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+", line)]


def test_stopping_by_a_callback_and_going_on(script):
    stopped, went_on = map(numbers, script("callback_stop.py"))
    assert stopped[1] > 500 and went_on[0] >= stopped[0] + 5_000


def test_stopping_when_solved(script):
    first, second = map(numbers, script("stop_when_solved.py"))
    assert first[1] >= 950 and second[0] >= 950


def test_a_warm_start(script):
    [line] = script("warm_start.py")
    assert min(numbers(line)) >= 500


def test_changing_the_learning_rate(script):
    rates = [float(line.split()[-1]) for line in script("change_learning_rate.py")]
    assert rates[0] == pytest.approx(10 * rates[-1])


def test_a_search_that_prunes(script):
    pytest.importorskip("optuna")
    assert script("optuna_sweep.py", "2")[-1].startswith("best ")


def test_training_and_looking(script, tmp_path):
    score, page = script("train_and_render.py")
    assert numbers(score)[0] >= 950
    assert page.startswith(f"{tmp_path / 'pendulum.html'}: 1000 env steps")
    assert (tmp_path / "pendulum.html").stat().st_size > 100_000


def test_an_environment_of_one_s_own(script, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    [line] = script("own_environment.py")
    first, last = map(float, re.findall(r"-\d+\.\d", line))
    assert last > first / 3  # what is lost, not what is gained


def test_an_estimator_of_one_s_own():
    main = runpy.run_path(str(EXAMPLES / "own_estimator.py"))["main"]
    distance = main(300)
    assert distance[0.0] > 0.6667 > distance[0.5] > distance[1.0]
