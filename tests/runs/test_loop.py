"""The loop of a run: what is due when, what its speeds leave out, and stopping by a callback."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np

import pes_rl
from pes_rl.config import Config, build_config
from pes_rl.runs import recorder
from pes_rl.runs.loop import due_after, schedule
from pes_rl.runs.run import train_from_config
from pes_rl.storage.metrics import LANES_SCORED
from pes_rl.training.host import HostTrainer
from pes_rl.training.processes import Processes
from pes_rl.training.protocol import Trainer
from tests.tools.run_tools import SMALL, arrays, resume, rows, train
from tests.tools.toy_environment import PointMassSimulator, configure

STEPS = 40


class Counter:
    """Makes two updates of `STEPS` env steps at a time, and nothing else."""

    def __init__(self, **fields: Any):
        self.config = SimpleNamespace(num_env_steps=1000, eval_every=300, checkpoint_every=450)
        self.config.__dict__.update(fields)
        self.env_steps = 0

    def advance(self) -> list[dict[str, Any]]:
        self.env_steps += 2 * STEPS
        return [{"env_steps": self.env_steps - STEPS}, {"env_steps": self.env_steps}]


def test_what_is_due_follows_env_steps():
    due = list(schedule(cast(Trainer, Counter())))
    at = [moment.rows[-1]["env_steps"] for moment in due]
    assert at == list(range(80, 1041, 80))
    assert [n for n, moment in zip(at, due, strict=True) if moment.evaluate] == [
        320,
        640,
        960,
        1040,
    ]
    assert [n for n, moment in zip(at, due, strict=True) if moment.save] == [480, 960]


def test_the_last_update_is_scored_and_a_skipped_multiple_counts_once():
    config = cast(Config, SimpleNamespace(num_env_steps=100, eval_every=30, checkpoint_every=1000))
    assert due_after(config, 10, 95, []) == ([], True, False)
    assert due_after(config, 31, 59, []) == ([], False, False)
    assert due_after(config, 91, 101, []).evaluate


def test_lanes_that_reach_the_goal_have_the_policy_scored():
    config = configure(eval_every=30, num_env_steps=100)
    for score, due in ((4.9, False), (5.0, True), (math.nan, False)):
        rows = [{LANES_SCORED: score}, {}]
        assert due_after(config, 31, 32, rows, goal=5.0).evaluate is due
    assert not due_after(config, 31, 32, [{LANES_SCORED: 1e9}]).evaluate


def test_the_first_row_s_speed_leaves_out_the_first_checkpoint(tmp_path, monkeypatch):
    plain = recorder.save_checkpoint

    def slow(*arguments: Any) -> Any:
        time.sleep(0.5)
        return plain(*arguments)

    monkeypatch.setattr(recorder, "save_checkpoint", slow)
    flags = f"--env Swimmer {SMALL}".replace("--num-env-steps 2000", "--num-env-steps 400")
    assert train(flags, tmp_path / "run") == 0
    first, *others = rows(tmp_path / "run", without=())
    typical = np.median([row["train/env_steps_per_second"] for row in others])
    # 40 env steps in half a second and more would be a hundredth of it.
    assert first["train/env_steps_per_second"] > typical / 5
    assert all(row["train/env_steps_per_second"] > typical / 5 for row in others)


def test_a_callback_sees_every_row_and_stops_a_run_that_can_be_resumed(tmp_path):
    fields = {"num_pairs": 2, "segment_length": 10, "horizon": 40, "num_env_steps": 400}
    whole = pes_rl.train("Swimmer", run_dir=tmp_path / "whole", **fields)
    seen: list[dict[str, Any]] = []

    def stop(row: dict[str, Any]) -> bool:
        seen.append(row)
        return row["update"] == 4

    stopped = pes_rl.train("Swimmer", run_dir=tmp_path / "run", callback=stop, **fields)
    assert stopped.env_steps == 160 and [row["update"] for row in seen] == [1, 2, 3, 4]
    assert seen[-1]["train/env_steps_per_second"] > 0
    resumed = pes_rl.resume(tmp_path / "run", callback=lambda row: seen.append(row))
    assert resumed.env_steps == whole.env_steps and len(seen) == 10
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert arrays(tmp_path / "run") == arrays(tmp_path / "whole")


def test_thinned_rows_are_some_of_all_rows_also_after_a_stop(tmp_path):
    flags = f"--env Swimmer {SMALL}"
    assert train(flags, tmp_path / "all") == 0
    thin = flags.replace("--log-every 1", "--log-every 100")
    assert train(thin, tmp_path / "whole") == 0
    run = tmp_path / "run"
    assert train(thin.replace("--num-env-steps 2000", "--num-env-steps 1160"), run) == 0
    assert resume(run, "--num-env-steps 2000") == 0
    kept = [40 * (1 + (100 * n - 1) // 40) for n in range(1, 21)]
    assert [row["env_steps"] for row in rows(tmp_path / "whole")] == kept
    evaluated = [row for row in rows(tmp_path / "all") if row["env_steps"] in kept]
    assert rows(tmp_path / "whole") == evaluated
    extra = [row for row in rows(run) if row["env_steps"] == 1160]  # scored at its end
    assert [row for row in rows(run) if row not in extra] == evaluated
    assert arrays(run) == arrays(tmp_path / "all")


def test_checkpoints_may_be_apart_by_a_time(tmp_path, monkeypatch):
    plain, saved = recorder.save_checkpoint, []

    def save(run: Any, env_steps: int, *rest: Any) -> Any:
        saved.append(env_steps)
        return plain(run, env_steps, *rest)

    monkeypatch.setattr(recorder, "save_checkpoint", save)
    fields = {"num_pairs": 2, "segment_length": 10, "horizon": 40, "num_env_steps": 400}

    def slow(row: dict[str, Any]) -> None:
        time.sleep(0.3 * (row["update"] == 4))

    pes_rl.train("Swimmer", run_dir=tmp_path, callback=slow, checkpoint_every="0.2s", **fields)
    assert 160 in saved and {saved[0], saved[-1]} == {0, 400} and len(saved) < 9


def test_a_run_takes_any_trainer(tmp_path):
    """What makes the trainer is handed in; nothing has to be replaced inside the package."""
    made = []

    def make(config: Config, processes: Processes) -> Trainer:
        made.append(HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n)))
        return made[-1]

    config = build_config({"env": "HalfCheetah", "num_pairs": 2, "horizon": 40, "eval_episodes": 2})
    config = replace(config, num_env_steps=200)
    run = train_from_config(config, tmp_path / "run", "test", make=make)
    assert run.env_steps >= 200 and made[0].policy.observation_size == 3


def test_refused_updates_move_nothing():
    """Shaping refuses where all members gain the same: nor may momentum and decay move theta."""

    class Idle(PointMassSimulator):
        """After some updates every member gains the same, whatever it does."""

        equal = False

        def step(self, rows, action):
            out = super().step(rows, action)
            same = np.ones_like(out.reward)
            return out._replace(reward=same, terminated=same == 0) if self.equal else out

    config = configure(shaping="std", momentum=0.9, weight_decay=0.1, staggered=False)
    trainer = HostTrainer(config, make_simulator=lambda n, _: Idle(n, bound=np.inf))
    for _ in range(5):
        trainer.advance()
    before = trainer.state().train
    assert np.abs(before.theta).max() > 0
    cast(Any, trainer.population.crew.simulator).equal = True
    for _ in range(3):
        (row,) = trainer.advance()
        assert row["train/zero_updates"] == 1
    after = trainer.state().train
    np.testing.assert_array_equal(after.theta, before.theta)
    leaves = map(jax.tree.leaves, (before.optimizer, after.optimizer))
    for old, new in zip(*leaves, strict=True):
        np.testing.assert_array_equal(old, new)
