"""Runs from end to end: the folder they leave, their bits, and the policies they save."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace

import gymnasium
import mujoco
import numpy as np
import pytest
from safetensors import safe_open

import pes_rl
from pes_rl import cli
from pes_rl.config import OPTIONS, load_config
from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.simulator import SingleStep
from pes_rl.evaluation.official import play_official
from pes_rl.particles.crew import Crew
from pes_rl.policies.gru import GRU
from pes_rl.policies.mlp import MLP
from pes_rl.runs.run import Run
from pes_rl.training.host import HostTrainer
from tests.storage.test_metrics import events
from tests.tools.run_tools import EVAL, SMALL, TIMES, arrays, resume, rows, train

ROW = (
    "env_steps",
    "update",
    "wall_time_s",
    "train/segment_return",
    "train/env_steps_per_second",
    "train/grad_norm",
    "train/live_fraction",
    "train/invalid_particles",
    "total/env_steps_per_second",
)
FLAGS = f"--env HalfCheetah {SMALL} --learning-rate-schedule linear --schedule-env-steps 4000"


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    """50 updates of 40 env steps."""
    path = tmp_path_factory.mktemp("runs") / "cheetah"
    assert train(FLAGS, path) == 0
    return path


@pytest.fixture(scope="module")
def full_length(tmp_path_factory):
    """Episodes of the official length, so that scores compare with the official environment's."""
    path = tmp_path_factory.mktemp("runs") / "full"
    flags = (
        "--env HalfCheetah --num-pairs 2 --num-env-steps 4000 --eval-episodes 10 "
        "--perturb-std 0.3 --learning-rate 0.1"
    )
    assert train(flags, path) == 0
    return path


def test_the_folder_holds_what_is_documented(cheetah):
    names = sorted(p.name for p in cheetah.iterdir() if not p.name.startswith("."))
    [event_file] = [name for name in names if name.startswith("events.out.tfevents.")]
    names.remove(event_file)
    assert names == [
        "checkpoints",
        "command.txt",
        "config.yaml",
        "metrics.jsonl",
        "policy",
        "run.json",
        "versions.json",
    ]
    assert (cheetah / "command.txt").read_text() == f"pes-rl train {FLAGS} --run-dir {cheetah}\n"
    assert json.loads((cheetah / "run.json").read_text()) == {"exact_resume": True}
    versions = json.loads((cheetah / "versions.json").read_text())
    assert (versions["mujoco"], versions["numpy"]) == (mujoco.__version__, np.__version__)
    saved = sorted(p.name for p in (cheetah / "checkpoints").iterdir())
    assert saved == ["000000001800", "000000002000"]
    assert sorted(p.name for p in (cheetah / "policy").iterdir()) == ["best", "last"]
    assert asdict(load_config(cheetah / "config.yaml")).keys() == OPTIONS.keys()


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(f"--env InvertedPendulum {SMALL} --num-env-steps 40 --seed 7") == 0
    [path] = (tmp_path / "runs").iterdir()
    assert path.name.startswith("InvertedPendulum__es-single__seed7__2")


def test_metrics_have_the_documented_keys(cheetah):
    table = rows(cheetah, without=())
    assert [row["update"] for row in table] == list(range(1, 51))
    assert [row["env_steps"] for row in table] == list(range(40, 2001, 40))
    assert all(row.keys() >= set(ROW) for row in table)
    evaluated = [row["env_steps"] for row in table if row.keys() & set(EVAL)]
    assert evaluated == [400, 800, 1200, 1600, 2000]
    for row in table[9::10]:
        assert row.keys() >= set(EVAL)
        assert (row["eval/episodes"], row["eval/episode_length"]) == (2, 1000)
    walls = [row["wall_time_s"] for row in table]
    assert walls == sorted(walls) and walls[0] > 0
    for row in table:
        assert row["train/env_steps_per_second"] >= row["total/env_steps_per_second"] > 0


def test_tensorboard_has_the_evaluations(cheetah):
    shown = {
        event.step: {value.tag: value.simple_value for value in event.summary.value}
        for event in events(cheetah)
        if event.summary.value
    }
    table = {row["env_steps"]: row for row in rows(cheetah)}
    assert {step for step in shown if EVAL[0] in shown[step]} == {400, 800, 1200, 1600, 2000}
    settings = shown.pop(0)  # for the table of hyperparameters
    assert set(settings) == {"_hparams_/session_start_info"}
    best = -math.inf
    for step, values in shown.items():
        best = max(best, values.get(EVAL[0], best))
        assert values.pop("best/episode_return", best) == best
        for tag in set(values) - set(TIMES):
            assert values[tag] == np.float32(table[step][tag])


def test_env_steps_counts_live_members(tmp_path, monkeypatch):
    stepped, plain_step = [], MujocoSimulator.step

    def step(self, selected, action):
        if self.num_particles == 4:  # the population; evaluation plays in two environments
            stepped.append(len(selected))
        return plain_step(self, selected, action)

    monkeypatch.setattr(MujocoSimulator, "step", step)
    monkeypatch.setattr(MujocoSimulator, "stretch", lambda self, rows, _: SingleStep(self, rows))
    flags = f"--env InvertedPendulum {SMALL} --perturb-std 1 --num-env-steps 400"
    assert train(flags, tmp_path / "run") == 0
    table = rows(tmp_path / "run")
    assert table[-1]["env_steps"] == sum(stepped)
    assert min(row["train/live_fraction"] for row in table) < 1
    before = [0, *(row["env_steps"] for row in table)]
    for row, start in zip(table, before, strict=False):
        assert row["train/live_fraction"] == (row["env_steps"] - start) / 40


@pytest.mark.parametrize("flags", ["", "--num-threads 3"])
def test_same_seed_same_bits_from_the_saved_config(cheetah, tmp_path, flags):
    assert train(f"--config {cheetah / 'config.yaml'} {flags}", tmp_path / "again") == 0
    assert rows(tmp_path / "again") == rows(cheetah)
    assert arrays(tmp_path / "again") == arrays(cheetah)
    for name in ("best", "last"):
        # The file's header has its keys in any order; the hash in it covers the whole policy.
        files = [
            run / "policy" / name / "policy.safetensors" for run in (cheetah, tmp_path / "again")
        ]
        one, two = (safe_open(file, framework="np").metadata() for file in files)
        assert one == two and "sha256" in one


def test_another_seed_other_bits(cheetah, tmp_path):
    assert train(f"--config {cheetah / 'config.yaml'} --seed 1", tmp_path / "other") == 0
    assert rows(tmp_path / "other")[0]["train/grad_norm"] != rows(cheetah)[0]["train/grad_norm"]


def test_a_short_run_is_a_prefix_and_can_be_extended(cheetah, tmp_path, capsys):
    short, whole = tmp_path / "short", rows(cheetah)
    assert train(f"{FLAGS} --num-env-steps 960", short) == 0
    table = rows(short)
    assert len(table) == 24 and table[-1].keys() >= set(EVAL)
    extra = {key: table[-1].pop(key) for key in EVAL}
    assert table == whole[:24]

    assert resume(short, "--num-env-steps 2000") == 0
    table = rows(short)
    assert {key: table[23].pop(key) for key in EVAL} == extra
    assert table == whole
    assert arrays(short) == arrays(cheetah)
    config = load_config(cheetah / "config.yaml")
    assert load_config(short / "config.yaml") == replace(config, num_env_steps=2000)
    assert (short / "command.txt").read_text().splitlines()[1:] == [
        f"pes-rl train --resume {short} --num-env-steps 2000"
    ]

    capsys.readouterr()
    assert resume(short) == 0  # nothing left to do: no row, no error
    assert len(rows(short)) == 50
    assert "nothing left to train" in capsys.readouterr().err


def test_the_schedule_is_absolute_in_env_steps(cheetah):
    config, before = load_config(cheetah / "config.yaml"), 0
    for row in rows(cheetah):
        rate = config.learning_rate * (1 - before / 4000)
        assert row["train/learning_rate"] == pytest.approx(rate, rel=1e-6)
        before = row["env_steps"]


def test_output_without_a_terminal(tmp_path, capsys):
    assert train(f"{FLAGS} --num-env-steps 400", tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err and "\x1b" not in err
    lines = err.splitlines()
    assert lines[0] == f"{tmp_path / 'run'}"
    assert f"{tmp_path / 'run'}: compiling the update" in lines
    assert len(lines) <= 15, lines  # test_ends.py says which


def test_evaluate_is_the_official_environment(full_length, capsys):
    assert cli.main(["evaluate", str(full_length), "--episodes", "3", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    result = json.loads(line)

    policy, returns = pes_rl.load_policy(full_length), []
    env = gymnasium.make("HalfCheetah-v5")
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        total, truncated = 0.0, False
        while not truncated:
            action, _ = policy.predict(observation)
            observation, reward, _, truncated, _ = env.step(action)
            total += float(reward)
        returns.append(total)
    env.close()
    assert result["episode_return_mean"] == np.mean(returns)
    assert result["episode_return_std"] == np.std(returns)
    assert (result["episodes"], result["environment"]) == (3, "HalfCheetah-v5")
    assert result["policy"] == str(full_length / "policy" / "best")


def test_official_scores_agree_with_the_engines(full_length):
    [row] = [row for row in rows(full_length) if EVAL[0] in row]
    result = pes_rl.evaluate(full_length / "policy" / "last", episodes=10, seed=100)
    spread = math.hypot(row["eval/episode_return_std"], result["episode_return_std"])
    distance = abs(row["eval/episode_return"] - result["episode_return_mean"])
    assert distance < 4 * spread / math.sqrt(10)
    # The policy does something, or agreement would mean little.
    assert abs(result["episode_return_mean"]) > 4 * spread


def test_mujoco_leaves_no_log_file(tmp_path, monkeypatch):
    """On either engine and in evaluation, whatever an earlier test has silenced."""
    monkeypatch.chdir(tmp_path)
    mujoco.set_mju_user_warning(None)
    gymnasium.make("HalfCheetah-v5").close()
    log = tmp_path / "MUJOCO_LOG.TXT"
    assert log.exists()  # what would happen without care
    log.unlink()
    for engine in ("mujoco", "gymnasium"):
        mujoco.set_mju_user_warning(None)
        flags = f"--env HalfCheetah --engine {engine} {SMALL} --num-env-steps 80"
        assert train(flags, tmp_path / engine) == 0
    mujoco.set_mju_user_warning(None)
    assert cli.main(["evaluate", "gymnasium", "--episodes", "1"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gymnasium", "mujoco"]


@pytest.mark.parametrize(("policy", "kind"), [("mlp", MLP), ("gru", GRU)])
def test_policies_with_hidden_units(policy, kind, tmp_path, monkeypatch):
    lengths, plain_restart, plain_unroll = [], Crew.restart, Crew.unroll

    def restart(self, selected, rngs):
        plain_restart(self, selected, rngs)
        assert not self.hidden[selected].any()

    def unroll(self, *arguments, **options):
        lengths.append(float(np.abs(self.hidden).sum()))
        return plain_unroll(self, *arguments, **options)

    monkeypatch.setattr(Crew, "restart", restart)
    monkeypatch.setattr(Crew, "unroll", unroll)
    flags = f"--env Hopper --estimator es-single {SMALL} --policy {policy} --hidden-sizes 8"
    flags += " --num-env-steps 600"
    assert train(flags, tmp_path / "run") == 0
    # A memory is carried over a segment's end, and every episode begins without one.
    assert min(lengths) == 0 and (max(lengths) > 0) == (policy == "gru")
    saved = pes_rl.load_policy(tmp_path / "run" / "policy" / "last")
    assert isinstance(saved.policy, kind)
    start = saved.policy.init(0)
    assert np.isfinite(saved.theta).all() and (saved.theta != start).mean() > 0.9
    assert pes_rl.evaluate(tmp_path / "run", episodes=1)["episode_length_mean"] > 1


def test_python_api_and_learning(tmp_path):
    """An inverted pendulum is balanced for the whole 1000 steps within 5000 env steps."""
    run = pes_rl.train(
        "InvertedPendulum",
        num_env_steps=5000,
        num_pairs=8,
        perturb_std=0.3,
        learning_rate=0.05,
        eval_every=200,
        eval_episodes=5,
        run_dir=tmp_path / "run",
    )
    table = [row for row in rows(run.path) if EVAL[0] in row]
    assert (run.path, run.env_steps) == (tmp_path / "run", table[-1]["env_steps"])
    assert run.last_return == table[-1][EVAL[0]]
    assert run.best_return == max(row[EVAL[0]] for row in table) == 1000
    policy = pes_rl.load_policy(run)
    assert policy.path.name == "best" and policy.scores["episode_return"] == 1000
    untrained = replace(policy, theta=np.zeros_like(policy.theta))
    assert play_official(untrained, 5, 0)[0].mean() < 100  # so it had to be learned
    action, state = policy.predict(np.zeros(4))
    assert action.shape == (1,) and state is None
    assert pes_rl.evaluate(run, episodes=2)["episode_return_mean"] == 1000
    command = (run.path / "command.txt").read_text()
    assert command.startswith("pes_rl.train('InvertedPendulum', run_dir=")


def test_a_finished_run_offers_its_policy_and_its_metrics(cheetah):
    run = Run(cheetah, 0, math.nan, math.nan)
    assert run.metrics == rows(cheetah, without=())
    assert run.policy.environment["name"] == "HalfCheetah"


def test_a_run_killed_before_its_last_policy_was_written_can_be_resumed(tmp_path):
    run = tmp_path / "run"
    flags = f"--env HalfCheetah {SMALL}".replace("--num-env-steps 2000", "--num-env-steps 70")
    assert train(flags, run) == 0  # stops at 80, more than it was asked for
    before = arrays(run)
    shutil.rmtree(run / "policy" / "last")
    assert resume(run) == 0
    assert (run / "policy" / "last").is_dir()
    assert arrays(run) == before


def test_a_run_that_was_killed_at_once_can_be_resumed(tmp_path, monkeypatch):
    flags = f"--env Swimmer {SMALL} --num-env-steps 400"
    assert train(flags, tmp_path / "whole") == 0

    def killed(_):
        raise RuntimeError("as if killed: nothing is saved on the way out")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(HostTrainer, "advance", killed)
        train(flags, tmp_path / "killed")
    assert resume(tmp_path / "killed") == 0
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert arrays(tmp_path / "killed") == arrays(tmp_path / "whole")
