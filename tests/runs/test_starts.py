"""Runs that begin anew where a start has come to nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pes_rl.config import build_config
from pes_rl.config.checks import validate
from pes_rl.errors import UserError
from pes_rl.runs.run import resume, train_from_config
from pes_rl.runs.starts import Start
from pes_rl.storage.policy import load_policy
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.host import HostTrainer
from tests.tools.run_tools import arrays, rows
from tests.tools.toy_environment import PointMassSimulator, configure, point_mass

NUMBER = "eval/start"
CONFIG = configure(
    "pes",
    num_env_steps=1000,
    eval_every=150,
    eval_episodes=3,
    checkpoint_every=100,
    policy="mlp",
    hidden_sizes=[3],
    optimizer="adam",
    retry_after=290,
    retry_below=1e6,
)
pytestmark = pytest.mark.usefixtures("shared_programs")


def on_a_host(config, processes=None):
    return HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n))


def on_devices(config, processes=None):
    return DeviceTrainer(config, environment=point_mass())


@pytest.mark.parametrize("make", [on_a_host, on_devices])
def test_a_run_begins_anew_and_goes_on_bit_for_bit(make, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_from_config(CONFIG, whole, "test", make=make)
    scored = [row for row in rows(whole) if NUMBER in row]
    numbers = [row[NUMBER] for row in scored]
    assert numbers == sorted(numbers) and set(numbers) >= {0, 1, 2}
    assert capsys.readouterr().err.count("training begins anew") == numbers[-1]
    # Ended where it is to begin anew: only the run that goes on does so.
    ended = max(row["env_steps"] for row in scored if row[NUMBER] == 0)
    first = replace(CONFIG, num_env_steps=ended)
    train_from_config(first, parts, "test", make=make)
    best = max(row["eval/episode_return"] for row in rows(parts) if NUMBER in row)
    assert load_policy(parts / "policy" / "best").scores["episode_return"] == best
    resume(parts, make=make, num_env_steps=CONFIG.num_env_steps)
    assert rows(parts) == rows(whole) and arrays(parts) == arrays(whole)


def test_a_policy_that_was_never_scored_has_no_score(tmp_path):
    class Breaking(HostTrainer):
        anew = False

        def begin_anew(self, start):
            super().begin_anew(start)
            self.anew = True

        def advance(self):
            if self.anew:
                raise OSError("the simulator is gone")
            return super().advance()

    def make(config, processes=None):
        return Breaking(config, make_simulator=lambda n, _: PointMassSimulator(n))

    every_update = replace(CONFIG, eval_every=1, retry_after=1, checkpoint_every=10_000)
    with pytest.raises(OSError, match="gone"):
        train_from_config(every_update, tmp_path / "run", "test", make=make)
    assert load_policy(tmp_path / "run" / "policy" / "best").scores["episode_return"] is not None
    assert load_policy(tmp_path / "run" / "policy" / "last").scores["episode_return"] is None


@pytest.mark.parametrize("make", [on_a_host, on_devices])
def test_a_new_start_has_forgotten_everything_but_draws_other_noise(make):
    trainer = make(CONFIG)
    before = trainer.state().train
    trainer.advance()
    steps, updates = trainer.env_steps, trainer.updates
    noise = trainer.state().train.estimator.draws
    trainer.begin_anew(1)
    after = trainer.state().train
    assert (trainer.env_steps, trainer.updates) == (steps, updates)
    assert int(after.env_steps) == steps
    assert after.theta.shape == before.theta.shape and not (after.theta == before.theta).all()
    np.testing.assert_array_equal(after.estimator.draws, noise)
    np.testing.assert_array_equal(after.estimator.clock, before.estimator.clock)
    np.testing.assert_array_equal(after.statistics.mean, before.statistics.mean)
    assert trainer.advance()[0]["train/segment_return"] != 0


@pytest.mark.parametrize("make", [on_a_host, on_devices])
def test_perturbations_of_a_new_start_are_as_large_as_those_of_the_first(make):
    trainer = make(replace(CONFIG, perturb_std_decay_steps=100))
    first, second = (row["train/perturb_std"] for _ in range(2) for row in trainer.advance())
    trainer.begin_anew(1)
    again = [row["train/perturb_std"] for _ in range(2) for row in trainer.advance()]
    assert again == [first, second] and second < first


def test_a_start_has_its_time_and_is_kept_once_it_has_come_to_something():
    config = replace(CONFIG, retry_below=5.0)
    start = Start(1, 1000)
    assert not start.is_nothing(config, 1289) and start.is_nothing(config, 1290)
    assert start.scored(4.9).is_nothing(config, 2000)
    assert start.scored(math.nan).is_nothing(config, 2000)
    assert not start.scored(5.0).scored(1.0).is_nothing(config, 2000)
    assert not start.is_nothing(replace(CONFIG, retry_after=None, retry_below=None), 2000)


@pytest.mark.parametrize("given, other", [("after", "below"), ("below", "after")])
def test_one_without_the_other_is_refused(given, other):
    with pytest.raises(UserError, match=f"retry_{given} .* needs retry_{other}"):
        validate(replace(CONFIG, **{f"retry_{other}": None}))


def test_a_warm_start_is_not_begun_anew():
    assert build_config({"env": "Hopper"}).retry_after == 300_000
    for off in ({"init_from": "runs/a"}, {"retry_after": "none"}, {"retry_below": "none"}):
        config = build_config({"env": "Hopper", **off})
        assert (config.retry_after, config.retry_below) == (None, None)
    with pytest.raises(
        UserError, match="retry_after 290 would begin anew without init_from runs/a"
    ):
        validate(replace(CONFIG, init_from="runs/a"))
