"""What can go wrong with a run: bad input, damage, another process, signals."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pes_rl import cli
from pes_rl.runs import run as run_module
from pes_rl.training.host import HostTrainer
from tests.tools.run_tools import EVAL, SMALL, arrays, contents, resume, rows, train

FLAGS = f"--env HalfCheetah {SMALL}"
SPARE, NEWEST = "000000000320", "000000000400"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """10 updates, evaluated at the last; checkpoints after updates 8 and 10."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    assert train(f"{FLAGS} --num-env-steps 400", path) == 0
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == [SPARE, NEWEST]
    return path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def error(capsys, code: int) -> str:
    """The message of a command that failed as it should."""
    out, err = capsys.readouterr()
    assert code == 2 and out == ""
    assert err.startswith("pes-rl: error: ") and len(err.splitlines()) <= 3
    return err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --env HalfChetah", "did you mean 'HalfCheetah'?"),
        ("train --env NoSuchThing-v0", "unknown environment 'NoSuchThing-v0'"),
        ("train --env Humanoid --estimator nres", "estimator"),
        ("train --env Humanoid --perturb-std nan", "perturb_std"),
        ("train --env Humanoid --perturb-std -0.1", "perturb_std"),
        ("train --env Humanoid --segment-length 0", "segment_length"),
        ("train --env Humanoid --segment-length 51 --horizon 50", "segment_length 51"),
        ("train --env Humanoid --config typo.yaml", "unknown key 'num_pair' in typo.yaml"),
        ("train --env Humanoid --run-dir typo.yaml/run", "cannot write to the run folder"),
        ("train --env Humanoid --run-dir full", "not empty"),
        ("train --resume missing", "it does not exist"),
        ("train --resume full", "has no config.yaml"),
        ("train --resume typo.yaml", "is not a run folder"),
        ("evaluate missing", "missing does not exist"),
        ("evaluate full", "no policy to load"),
    ],
)
def test_bad_input_writes_nothing(command, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "typo.yaml").write_text("num_pair: 3\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert words in error(capsys, cli.main(command.split()))
    assert contents(tmp_path) == before


def cut(run: Path, checkpoint: str) -> None:
    file = run / "checkpoints" / checkpoint / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def test_a_truncated_checkpoint_falls_back_to_the_one_before(run, tmp_path, capsys):
    cut(run, NEWEST)
    assert resume(run, "--num-env-steps 800") == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("pes-rl: warning: skipped a damaged checkpoint: ") and NEWEST in first
    assert train(f"{FLAGS} --num-env-steps 800", tmp_path / "whole") == 0
    assert rows(run) == rows(tmp_path / "whole")
    assert arrays(run) == arrays(tmp_path / "whole")


def test_no_intact_checkpoint(run, capsys):
    cut(run, SPARE)
    cut(run, NEWEST)
    before = contents(run)
    message = error(capsys, resume(run, "--num-env-steps 800"))
    assert "no intact checkpoint" in message and NEWEST in message
    assert contents(run) == before


def test_a_checkpoint_of_another_schema(run, capsys):
    folder = run / "checkpoints" / NEWEST
    meta = json.dumps(json.loads((folder / "meta.json").read_text()) | {"schema": 99}).encode()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["meta.json"] = {"size": len(meta), "sha256": hashlib.sha256(meta).hexdigest()}
    (folder / "meta.json").write_bytes(meta)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = contents(run)
    message = error(capsys, resume(run, "--num-env-steps 800"))
    assert "incompatible version" in message and "schema 99" in message
    assert contents(run) == before


def test_a_configuration_of_a_newer_version(run, capsys):
    config = run / "config.yaml"
    config.write_text(f"{config.read_text()}warp_drive: 9\n")
    before = contents(run)
    message = error(capsys, resume(run))
    assert "unknown key 'warp_drive'" in message and "incompatible" not in message
    versions = json.loads((run / "versions.json").read_text()) | {"pes_rl": "99.0"}
    (run / "versions.json").write_text(json.dumps(versions))
    message = error(capsys, resume(run))
    assert "incompatible version" in message and "made by pes-rl 99.0" in message
    assert "unknown key 'warp_drive'" in message
    assert contents(run).keys() == before.keys()


def test_a_run_in_use_by_another_process(run, capsys):
    code = (
        "import pathlib, sys, time; from pes_rl.storage.run_folder import lock_run\n"
        "with lock_run(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(120)"
    )
    command = [sys.executable, "-c", code, str(run)]
    before = contents(run)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            message = error(capsys, resume(run, "--num-env-steps 800"))
            assert "already in use by another process" in message
            assert "not empty" in error(capsys, train(FLAGS, run))
        finally:
            holder.kill()
    assert contents(run) == before
    assert resume(run, "--num-env-steps 440") == 0  # the lock went with its process


ENDLESS = f"--env HalfCheetah {SMALL} --num-env-steps 1e9"


def interrupt(number: int, run: Path, flags: str, num_rows: int) -> int:
    """Start a process, send a signal once the run has so many rows; its exit code."""
    metrics = run / "metrics.jsonl"
    command = [sys.executable, "-m", "pes_rl", "train", *flags.split()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=run.parent
    ) as process:
        give_up = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < give_up:
            written = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
            if run.exists() and written >= num_rows:
                break
            time.sleep(0.002)
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert out == "" and "Traceback" not in err, err
    assert f"  resume     pes-rl train --resume {run}\n" in err
    assert [p.name for p in run.parent.iterdir()] == [run.name]
    return process.returncode


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_first(number, code, tmp_path):
    """As soon as the folder is there, mostly during compilation; then again in a resumed run."""
    run = tmp_path / "folder" / "run"
    run.parent.mkdir()
    assert interrupt(number, run, f"{ENDLESS} --run-dir {run}", 0) == code
    early = rows(run)
    assert (run / "policy" / "last").is_dir()
    assert interrupt(number, run, f"--resume {run}", len(early) + 5) == code
    late = rows(run)
    assert len(late) >= len(early) + 5
    total = late[-1]["env_steps"] + 40
    assert resume(run, f"--num-env-steps {total}") == 0
    assert train(f"{ENDLESS} --num-env-steps {total}", tmp_path / "whole") == 0
    assert rows(run) == rows(tmp_path / "whole") and rows(run)[-1].keys() >= set(EVAL)
    assert arrays(run) == arrays(tmp_path / "whole")


def exit_code(flags: str, run: Path) -> int:
    """What a shell would see."""
    try:
        return train(flags, run)
    except SystemExit as stopped:
        return int(stopped.code or 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("place", "num_rows"),
    [
        ((HostTrainer, "__init__"), None),
        ((run_module, "save_config"), 0),
        ((HostTrainer, "advance"), 1),
    ],
    ids=["no folder yet", "no configuration yet", "first update"],
)
def test_signals_while_starting(number, code, place, num_rows, tmp_path, monkeypatch):
    """Before there is a folder nothing is left; afterwards there is something to resume."""

    def unhandled(*_):
        raise AssertionError("the signal reached whoever had started the run")

    owner, name = place
    plain = getattr(owner, name)

    def interrupted(*arguments, **options):
        signal.raise_signal(number)
        return plain(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)
    before = signal.signal(number, unhandled)
    try:
        assert exit_code(FLAGS, tmp_path / "run") == code
        assert signal.getsignal(number) is unhandled
    finally:
        signal.signal(number, before)
        monkeypatch.undo()
    if num_rows is None:
        assert list(tmp_path.iterdir()) == []
        return
    assert len(rows(tmp_path / "run")) == num_rows
    assert resume(tmp_path / "run", "--num-env-steps 120") == 0
    assert [row["env_steps"] for row in rows(tmp_path / "run")] == [40, 80, 120]


def test_resume_cannot_shorten_a_run(run, capsys):
    before = contents(run)
    assert resume(run, "--num-env-steps 100") == 2
    assert "--num-env-steps 100 is less than" in capsys.readouterr().err
    assert contents(run) == before
