"""What becomes of runs killed at their start, and of run folders that somebody else has changed."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pes_rl.errors import UserError
from pes_rl.runs import opening
from pes_rl.runs.run import resume, train_from_config
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.metrics import read_metrics
from pes_rl.training.host import HostTrainer
from tests.tools.run_tools import arrays, contents, rows
from tests.tools.toy_environment import PointMassSimulator, configure

CONFIG = configure(num_env_steps=600, eval_every=150, eval_episodes=3, checkpoint_every=200)
pytestmark = pytest.mark.usefixtures("shared_programs")


def make(config, processes):
    return HostTrainer(config, make_simulator=lambda n, _: PointMassSimulator(n))


@pytest.fixture(scope="module")
def whole(shared_programs, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return train_from_config(CONFIG, path, "test", make=make).path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_a_start_killed_at_any_file_operation_is_got_out_of(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.kill_driver", str(tmp_path), "18"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 90  # the hooks were really reached


def test_a_run_killed_before_its_first_checkpoint_starts_from_its_configuration(whole, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / ".tmp-000000000000").mkdir(parents=True)
    shutil.copy(whole / "config.yaml", run)
    for name in (".lock", ".versions.json.77.tmp", "metrics.jsonl"):
        (run / name).touch()
    resume(run, command="again", make=make)
    assert rows(run) == rows(whole) and arrays(run) == arrays(whole)
    assert contents(run).keys() >= {"run.json", "versions.json", "policy/best/policy.safetensors"}
    assert [p.name for p in run.rglob(".*")] == [".lock"]


@pytest.mark.parametrize("lost", [("checkpoints",), ("checkpoints", "metrics.jsonl")])
def test_a_run_that_has_lost_its_checkpoints_does_not_begin_again(run, lost):
    shutil.rmtree(run / "checkpoints")
    if len(lost) > 1:
        (run / lost[1]).unlink()
    before = contents(run)
    with pytest.raises(UserError, match="has no checkpoint to resume from"):
        resume(run, make=make)
    assert contents(run) == before


def delete(run: Path) -> None:
    shutil.rmtree(run)


def empty(run: Path) -> None:
    for path in run.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace(run: Path) -> None:
    shutil.copytree(run, run.with_name("copy"))
    shutil.rmtree(run)
    run.with_name("copy").rename(run)


@pytest.mark.parametrize("harm", [delete, empty, replace])
@pytest.mark.parametrize("update", [1, 3], ids=["before a checkpoint", "before a score"])
def test_a_folder_deleted_or_replaced_while_training(harm, update, tmp_path):
    run, left = tmp_path / "run", []

    def callback(row):
        if row["update"] == update:
            harm(run)
            left.append(contents(tmp_path))

    with pytest.raises(UserError, match=rf"{run} was deleted or replaced"):
        train_from_config(CONFIG, run, "test", make=make, callback=callback)
    assert [contents(tmp_path)] == left


def edit(run: Path, **values) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | values))


def test_an_edited_configuration_is_refused(run):
    edit(run, learning_rate=0.5, perturb_std=0.25, num_threads=2)
    before = contents(run)
    with pytest.raises(UserError, match=rf"{run}/config.yaml was edited: perturb_std is 0.25, .*"):
        resume(run, num_env_steps=700, make=make)
    assert contents(run) == before
    edit(run, perturb_std=CONFIG.perturb_std)
    with pytest.raises(
        UserError, match=rf"learning_rate is 0.5, but .* trained with {CONFIG.learning_rate};"
    ):
        resume(run, num_env_steps=700, make=make)
    edit(run, learning_rate=CONFIG.learning_rate)
    resume(run, num_env_steps=700, make=make)
    assert load_latest(run).meta["config"]["num_env_steps"] == 700
    assert yaml.safe_load((run / "config.yaml").read_text())["num_env_steps"] == 700


def test_a_checkpoint_that_does_not_say_its_configuration_is_accepted(run, monkeypatch):
    plain = opening.load_latest

    def old(path):
        checkpoint = plain(path)
        del checkpoint.meta["config"]
        return checkpoint

    monkeypatch.setattr(opening, "load_latest", old)
    resume(run, num_env_steps=700, make=make)
    assert rows(run)[-1]["env_steps"] >= 700


ALTERED = {
    "doubled": ([1, 2, 2, 3, 4], "line 3 is of update 2, after one of 2"),
    "missing": ([1, 3, 4], "bytes that training wrote"),
    "flipped": ([1, 3, 2, 4], "line 3 is of update 2, after one of 3"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_rows_that_training_did_not_write_so_are_named(name, run, capsys):
    updates, words = ALTERED[name]
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    altered = b"".join(lines[update - 1] for update in updates) + b"".join(lines[4:])
    path.write_bytes(altered)
    resume(run, num_env_steps=700, make=make)
    said = capsys.readouterr().err
    assert f"{path} was altered: " in said and words in said
    assert path.read_bytes().startswith(altered)
    assert len(read_metrics(run)) > len(altered.splitlines())


def test_a_changed_number_and_another_run_s_policy_are_noticed(run, tmp_path, capsys):
    resume(run, num_env_steps=700, make=make)
    assert "warning" not in capsys.readouterr().err
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"train/live_fraction": 1.0', b'"x": 7.0', 1))
    other = train_from_config(
        dataclasses.replace(CONFIG, seed=9), tmp_path / "other", "test", make=make
    ).path
    shutil.copytree(other / "policy" / "best", run / "policy" / "best", dirs_exist_ok=True)
    resume(run, num_env_steps=800, make=make)
    said = capsys.readouterr().err
    assert f"{path} was altered: it has " in said
    assert f"{run}/policy/best is not the policy that the run saved there" in said
    file = run / "policy" / "best" / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    resume(run, num_env_steps=900, make=make)
    assert f"{run}/policy/best is lost" in capsys.readouterr().err


def test_what_may_change_is_told_of_where_nobody_asked_for_it(run, capsys):
    edit(run, num_env_steps=800)
    resume(run, make=make)
    said = capsys.readouterr().err
    assert f"{run}/config.yaml has num_env_steps 800, the newest checkpoint 600" in said
    resume(run, num_env_steps=900, make=make)
    assert "config.yaml has" not in capsys.readouterr().err


def test_the_same_extension_may_be_asked_for_again(run):
    longer = resume(run, num_env_steps=701, make=make)
    assert longer.env_steps > 701
    assert resume(run, num_env_steps=701, make=make).env_steps == longer.env_steps
    with pytest.raises(UserError, match="less than"):
        resume(run, num_env_steps=650, make=make)
