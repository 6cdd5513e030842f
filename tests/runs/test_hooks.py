"""Goals, warm starts, changes on resume: what people do with runs beside letting them train."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from pes_rl.config import build_config, load_config, save_config
from pes_rl.errors import UserError
from pes_rl.runs.beginning import begin_from
from pes_rl.runs.goal import goal_return
from pes_rl.runs.run import resume, train_from_config
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import read_properties, write_properties
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.host import HostTrainer
from pes_rl.training.processes import ALONE
from tests.tools.run_tools import arrays, rows
from tests.tools.toy_environment import PointMassSimulator, configure, point_mass

CONFIG = configure(
    num_env_steps=800, eval_every=150, eval_episodes=3, checkpoint_every=400, optimizer="adam"
)
CONFIRMED = "eval/confirmed_return"
pytestmark = pytest.mark.usefixtures("shared_programs")


def on_a_host(config, processes=ALONE):
    return HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n))


def on_devices(config, processes=ALONE):
    return DeviceTrainer(config, environment=point_mass())


ENGINES = pytest.mark.parametrize("make", [on_a_host, on_devices])


@pytest.fixture(scope="module")
def wholes(shared_programs, tmp_path_factory):
    """Undisturbed runs by what made their trainer."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        make: train_from_config(CONFIG, folder / make.__name__, "test", make=make).path
        for make in (on_a_host, on_devices)
    }


def unconfirmed(run) -> list[dict[str, Any]]:
    return rows(run, without=("wall_time_s", CONFIRMED, *SPEEDS))


SPEEDS = ("train/env_steps_per_second", "total/env_steps_per_second")


@ENGINES
def test_a_run_stops_at_a_return_that_other_episodes_confirm(make, wholes, tmp_path, capsys):
    whole, run = rows(wholes[make]), tmp_path / "run"
    returns = [row["eval/episode_return"] for row in whole if "eval/episode_return" in row]
    goal = sorted(returns)[len(returns) // 2]
    done = train_from_config(CONFIG, run, "test", make=make, stop_at=goal)
    assert done.env_steps < CONFIG.num_env_steps and done.last_return >= goal
    *_, last = rows(run)
    assert last[CONFIRMED] >= goal and last[CONFIRMED] != last["eval/episode_return"]
    assert "does too: the run stops" in capsys.readouterr().err
    assert unconfirmed(run) == whole[: last["update"]]
    resume(run, make=make)  # the goal was that of the call before
    assert unconfirmed(run) == whole and arrays(run) == arrays(wholes[make])


def test_a_return_that_is_not_confirmed_stops_nothing(wholes, tmp_path, capsys):
    class Lucky(HostTrainer):
        def evaluate(self, first=0):
            found = super().evaluate(first)
            return found._replace(returns=found.returns + (0 if first else 1e6))

    def make(config, processes):
        return Lucky(config, make_simulator=lambda n, _: PointMassSimulator(n))

    done = train_from_config(CONFIG, tmp_path / "run", "test", make=make, stop_at="1e5")
    assert done.env_steps >= CONFIG.num_env_steps
    scored = [row for row in rows(done.path) if "eval/episode_return" in row]
    assert all(row[CONFIRMED] < 1e5 for row in scored)
    assert "does not" in capsys.readouterr().err
    assert arrays(done.path) == arrays(wholes[on_a_host])


@ENGINES
def test_episodes_of_other_numbers_are_other_episodes(make):
    trainer = make(CONFIG)
    first, second = (trainer.evaluate(first=n).returns for n in (0, 2))
    assert len(set([*first, *second])) == 5  # the third of the first is the first of the second
    np.testing.assert_array_equal(first[2], second[0])
    np.testing.assert_array_equal(trainer.evaluate().returns, first)


def test_what_counts_as_solved():
    def goal(env: str, stop_at: Any) -> float:
        return goal_return(build_config({"env": env}), stop_at)

    assert (goal("InvertedPendulum", "solved"), goal("CartPole-v1", "solved")) == (950, 475)
    assert (goal("Hopper", "-1e3"), goal("Hopper", 3), goal("Hopper", None)) == (-1000, 3, np.inf)
    with pytest.raises(UserError, match=r"stop_at 'solved' needs .* which 'Pusher' does not have"):
        goal("Pusher", "solved")
    with pytest.raises(UserError, match="stop_at must be a return or 'solved', not 'sloved'"):
        goal("Hopper", "sloved")


WARM = {"estimator": "es", "segment_length": None, "staggered": False, "optimizer": "sgd"}
WARM |= {"perturb_std": 0.25, "num_pairs": 4, "learning_rate": 1e-6, "shaping": "none"}


@ENGINES
def test_a_warm_start_begins_at_the_old_score(make, wholes, tmp_path):
    policy = load_policy(wholes[make] / "policy" / "last")
    config = replace(CONFIG, init_from=str(policy.path), num_env_steps=100, **WARM)
    trainer = make(config)
    cold = trainer.evaluate().mean
    source = begin_from(trainer, ALONE)
    np.testing.assert_array_equal(trainer.theta, policy.theta)
    assert policy.normalizer is not None and trainer.normalizer.total == policy.normalizer.total > 9
    np.testing.assert_allclose(trainer.normalizer.m2, policy.normalizer.m2, rtol=1e-6)
    trainer.updates = rows(wholes[make])[-1]["update"]  # of which the episodes are
    score = rows(wholes[make])[-1]["eval/episode_return"]
    assert trainer.evaluate().mean == pytest.approx(score, rel=1e-6) and cold < score
    assert source["env_steps"] == policy.scores["env_steps"]
    assert source["episode_return"] == pytest.approx(score)

    run = train_from_config(config, tmp_path / "run", "test", make=make)
    assert rows(run.path)[0]["eval/episode_return"] == pytest.approx(score, rel=0.05)
    assert read_properties(run.path)["init_from"] == source
    assert load_config(run.path / "config.yaml").init_from == config.init_from
    if make is on_devices:
        return  # what follows is the same for all
    # As if it had been killed before it had saved anything.
    again = tmp_path / "again"
    again.mkdir()
    for name in ("config.yaml", "run.json"):
        shutil.copy(run.path / name, again)
    resume(again, make=make)
    assert rows(again) == rows(run.path) and arrays(again) == arrays(run.path)


def test_a_warm_start_from_what_has_been_replaced_is_refused(wholes, tmp_path):
    """In a run that was killed before it had saved anything, and so begins once more."""
    save_config(replace(CONFIG, init_from=str(wholes[on_a_host])), tmp_path / "config.yaml")
    write_properties(tmp_path, init_from={"sha256": "that of another policy"})
    with pytest.raises(UserError, match=rf"init_from .* is not what {tmp_path} began with"):
        resume(tmp_path, make=on_a_host)


UNFIT = {
    "kind": (
        {"policy": "mlp", "hidden_sizes": (4,)},
        "is linear, this run.s mlp.* give --policy linear",
    ),
    "statistics": ({"normalize_observations": False}, "with statistics.* --normalize-observ"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_policies_that_do_not_fit_are_refused_in_one_line(name, wholes, tmp_path):
    fields, words = UNFIT[name]
    config = replace(CONFIG, init_from=str(wholes[on_a_host]), **fields)
    with pytest.raises(UserError, match=words) as refused:
        train_from_config(config, tmp_path / "run", "test", make=on_a_host)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_policies_of_other_inputs_and_actions_are_refused(wholes):
    trainer = on_a_host(replace(CONFIG, init_from="zoo/Swimmer"))
    with pytest.raises(UserError, match="has 8 inputs and 2 outputs, this run's 3 and 1; name"):
        begin_from(trainer, ALONE)
    trainer = on_a_host(replace(CONFIG, init_from=str(wholes[on_a_host])))
    trainer.action = replace(trainer.action, low=(-2.0,))
    with pytest.raises(UserError, match="has other actions, or other bounds"):
        begin_from(trainer, ALONE)
    trainer.config = replace(CONFIG, init_from="nowhere")
    with pytest.raises(UserError, match="no policy to load: nowhere does not exist"):
        begin_from(trainer, ALONE)
    trainer = HostTrainer(
        build_config({"env": "InvertedPendulum", "init_from": "zoo/InvertedPendulum"})
    )
    with pytest.raises(UserError, match="of outputs by 'clip', this run by 'scale'"):
        begin_from(trainer, ALONE)


CHANGES = {"learning_rate": 0.5, "eval_every": 300, "eval_episodes": 2}


@ENGINES
def test_a_resumed_run_may_change_its_learning_rate(make, wholes, tmp_path):
    whole, run = rows(wholes[make]), tmp_path / "run"
    at = 5
    train_from_config(CONFIG, run, "test", make=make, callback=lambda row: row["update"] == at)
    stopped = shutil.copytree(run, tmp_path / "stopped")
    resume(run, make=make, **CHANGES)
    changed = rows(run)
    before = [row["train/learning_rate"] for row in whole]
    assert [row["train/learning_rate"] for row in changed[:at]] == before[:at]
    assert {row["train/learning_rate"] for row in changed[at:]} == {0.5} != set(before)
    assert {row["eval/episodes"] for row in changed[at:] if "eval/episodes" in row} == {2}
    found = asdict(load_config(run / "config.yaml"))
    assert {name: found[name] for name in CHANGES} == CHANGES
    steps = changed[at - 1]["env_steps"]
    [history] = read_properties(run)["changes"]
    assert history == {"env_steps": steps} | {
        name: [getattr(CONFIG, name), value] for name, value in CHANGES.items()
    }
    # Adam's moments are those that it had.
    saved, now = (load_latest(path).arrays for path in (stopped, run))
    assert saved.keys() == now.keys()
    if make is on_devices:
        return  # what follows is the same for all
    # A kill right after the change: the configuration is ahead of the checkpoint, by what is known.
    for name in ("config.yaml", "run.json"):
        shutil.copy(run / name, stopped)
    resume(stopped, make=make)
    assert rows(stopped) == changed and arrays(stopped) == arrays(run)


def test_a_schedule_may_come_and_go(wholes, tmp_path):
    run = shutil.copytree(wholes[on_a_host], tmp_path / "run")
    steps = rows(run)[-1]["env_steps"]
    linear = {"learning_rate_schedule": "linear", "schedule_env_steps": "3e3"}
    resume(run, make=on_a_host, num_env_steps=steps + 100, **linear)
    rate = CONFIG.learning_rate * (1 - steps / 3000)
    assert rows(run)[-1]["train/learning_rate"] == pytest.approx(rate, rel=0.1)
    resume(run, make=on_a_host, num_env_steps=steps + 300, learning_rate_schedule="constant")
    assert rows(run)[-1]["train/learning_rate"] == pytest.approx(CONFIG.learning_rate)
    assert len(read_properties(run)["changes"]) == 2
    config = load_config(run / "config.yaml")
    assert (config.learning_rate_schedule, config.schedule_env_steps) == ("constant", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"perturb_std": 1.0}, "--perturb-std cannot change when resuming; remove it"),
        ({"optimizer": "sgd"}, "--optimizer cannot change"),
        ({"learning_rate": 0}, "learning_rate must be finite and positive, not 0"),
        ({"eval_every": "often"}, "eval_every must be a whole number, not 'often'"),
    ],
)
def test_changes_that_cannot_be_made_are_refused_by_name(changes, words, wholes):
    before = json.dumps(read_properties(wholes[on_a_host]))
    with pytest.raises(UserError, match=words):
        resume(wholes[on_a_host], make=on_a_host, **changes)
    assert json.dumps(read_properties(wholes[on_a_host])) == before
