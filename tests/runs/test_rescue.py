"""What has been trained outlives errors of environments and callbacks, and working directories."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.runs import recorder
from pes_rl.runs.run import resume, train_from_config
from pes_rl.runs.signals import stop_signals
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.policy import load_policy
from pes_rl.training.host import HostTrainer
from tests.tools.run_tools import arrays, rows
from tests.tools.toy_environment import PointMassSimulator, configure

CONFIG = configure(num_env_steps=600, eval_every=150, eval_episodes=3)
pytestmark = pytest.mark.usefixtures("shared_programs")


class Fragile(PointMassSimulator):
    """Raises once it has made so many steps."""

    steps_left = 40

    def step(self, rows, action):
        self.steps_left -= 1
        if self.steps_left < 0:
            raise OSError("the cable is out")
        return super().step(rows, action)


def make_with(population):
    def make(config, processes):
        kinds = iter([PointMassSimulator, population])  # that of evaluations, that of training
        return HostTrainer(config, make_simulator=lambda n, _: next(kinds)(n))

    return make


SOUND, FRAGILE = make_with(PointMassSimulator), make_with(Fragile)


@pytest.fixture(scope="module")
def whole(shared_programs, tmp_path_factory):
    return train_from_config(CONFIG, tmp_path_factory.mktemp("runs") / "run", "test", make=SOUND)


def test_an_environment_that_raises_leaves_the_last_update(whole, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.raises(OSError, match="the cable is out"):
        train_from_config(CONFIG, run, "test", make=FRAGILE)
    table, found = rows(run), load_latest(run)
    assert 1 < len(table) == found.meta["update"] < len(rows(whole.path))
    assert table == rows(whole.path)[: len(table)]
    note = f"saved after update {len(table)}, to be resumed; every pair will begin a new episode"
    assert note in capsys.readouterr().err
    # As if it had been asked to stop there, but for where the pairs are.
    until = replace(CONFIG, num_env_steps=table[-1]["env_steps"])
    short = train_from_config(until, tmp_path / "short", "test", make=SOUND)
    stopped = load_latest(short.path)
    for name in ("train/theta", "train/statistics/mean", "train/estimator/draws"):
        np.testing.assert_array_equal(found.arrays[name], stopped.arrays[name], err_msg=name)
    assert stopped.arrays["train/estimator/clock"].any()
    assert not found.arrays["train/estimator/clock"].any()
    one, two = (load_policy(path / "policy" / "last") for path in (run, short.path))
    np.testing.assert_array_equal(one.theta, two.theta)
    assert resume(run, make=SOUND).env_steps >= CONFIG.num_env_steps
    assert [row["update"] for row in rows(run)] == list(range(1, len(rows(run)) + 1))


def test_a_callback_that_raises_loses_nothing(whole, tmp_path, capsys):
    def fail(row):
        if row["update"] == 5:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        train_from_config(CONFIG, tmp_path / "run", "test", callback=fail, make=SOUND)
    assert "saved after update 5, to be resumed\n" in capsys.readouterr().err
    resume(tmp_path / "run", make=SOUND)
    assert rows(tmp_path / "run") == rows(whole.path)
    assert arrays(tmp_path / "run") == arrays(whole.path)


def test_an_evaluation_that_raises_loses_nothing(whole, tmp_path, monkeypatch):
    plain = HostTrainer.evaluate

    def evaluate(self):
        if self.env_steps > 300:
            raise RuntimeError("theirs")
        return plain(self)

    monkeypatch.setattr(HostTrainer, "evaluate", evaluate)
    with pytest.raises(RuntimeError, match="theirs"):
        train_from_config(CONFIG, tmp_path / "run", "test", make=SOUND)
    monkeypatch.undo()
    kept = rows(tmp_path / "run")
    assert load_latest(tmp_path / "run").meta["update"] == len(kept)
    resume(tmp_path / "run", make=SOUND)
    assert arrays(tmp_path / "run") == arrays(whole.path)


def test_a_best_policy_that_the_disk_refuses_once_is_saved_after_all(whole, tmp_path, monkeypatch):
    plain, refused = recorder.save_trained, []

    def save(trainer, folder, *arguments):
        if folder.name == "best" and not refused:
            raise refused.append(folder) or UserError("cannot save the policy")
        plain(trainer, folder, *arguments)

    monkeypatch.setattr(recorder, "save_trained", save)
    with pytest.raises(UserError, match="cannot save"):
        train_from_config(CONFIG, tmp_path / "run", "test", make=SOUND)
    resume(tmp_path / "run", make=SOUND)
    assert rows(tmp_path / "run") == rows(whole.path)
    one, two = (load_policy(path / "policy" / "best") for path in (tmp_path / "run", whole.path))
    np.testing.assert_array_equal(one.theta, two.theta)


def test_a_run_stays_where_it_was_begun_and_goes_wherever_a_path_does(tmp_path, monkeypatch):
    """Its environment goes elsewhere, and it has nowhere to write to but its folder."""
    (tmp_path / "elsewhere").mkdir()

    def make(config, processes):
        os.chdir(tmp_path / "elsewhere")
        return SOUND(config, processes)

    for place in ("here/run", None):
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", None)
            run = train_from_config(CONFIG, place, "test", make=make)
            assert resume(run, num_env_steps=CONFIG.num_env_steps + 200, make=make).path == run.path
        assert run.path.is_relative_to(tmp_path / (place or "runs"))
        assert load_policy(run).path == run.path / "policy" / "best"
        monkeypatch.chdir(tmp_path)
        assert resume(os.path.relpath(run), make=make).path == run.path
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_hangup_asks_to_stop_unless_it_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with stop_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop == [signal.SIGHUP]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with stop_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
