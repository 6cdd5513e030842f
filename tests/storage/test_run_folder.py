"""The run folder: names, refusals, the lock, provenance."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.storage import run_folder
from pes_rl.storage.files import write_text_atomic
from pes_rl.storage.run_folder import (
    clear_leftovers,
    create_named_run,
    create_run,
    is_run,
    lock_run,
    read_exact_resume,
    require_run,
    write_exact_resume,
    write_provenance,
)


def test_default_name_and_collision(tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    monkeypatch.setattr(run_folder.time, "strftime", lambda _: "20250102-030405")
    monkeypatch.setattr(os.path, "lexists", lambda path: os.path.isfile(path))  # nobody looks first
    made = [create_named_run(runs, "ALE/Pong:v5", "es-single", 3) for _ in range(3)]
    first = runs / "ALE-Pong-v5__es-single__seed3__20250102-030405"
    assert made == [first, first.with_name(f"{first.name}-2"), first.with_name(f"{first.name}-3")]
    assert first.is_dir()


def test_default_name_pattern(tmp_path):
    name = create_named_run(tmp_path, "Hopper", "pes", 0).name
    assert re.fullmatch(r"Hopper__pes__seed0__\d{8}-\d{6}", name)


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path):
    run = tmp_path / "a" / "b"
    assert create_run(run) == run
    assert create_run(run) == run
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        create_run(run)
    assert [p.name for p in run.iterdir()] == ["notes.txt"]


def test_what_kills_leave_is_deleted_and_nothing_else(tmp_path):
    run = tmp_path / "run"
    left = (".config.yaml.12.tmp", ".probe-a1b2c3")
    run.mkdir()
    for name in (".lock", *left):
        (run / name).touch()
    assert create_run(run) == run  # killed before there was a configuration
    mine = (".hidden", ".tmp-mine", ".video.mp4.12.tmp", "config.yaml", ".config.yaml.tmp")
    deep = ("policy/last/.policy.json.3.tmp", "checkpoints/.tmp-x", "checkpoints/.tmp-0/arrays")
    for name in (*mine, *deep):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    clear_leftovers(run)
    files = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert files == {".lock", *mine}
    assert not list((run / "checkpoints").iterdir())


def test_unwritable_places_are_refused_and_nothing_is_created(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/run", "file/deep/run", "new/" + "x" * 300):
        with pytest.raises(UserError, match="cannot write to the run folder"):
            create_run(tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    # Tests may run as root, whom permissions do not stop.
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="Permission denied"):
            create_run(tmp_path / "run")
        tmp_path.chmod(0o700)

    def read_only(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(run_folder.tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError, match="Read-only"):
        create_run(tmp_path / "new" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


HOLDER = """
import sys, time
from pathlib import Path
from pes_rl.storage.run_folder import lock_run
with lock_run(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(100)
"""


def test_the_lock_excludes_others_and_goes_with_its_process(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "locked\n"
        with (
            pytest.raises(UserError, match="already in use by another process"),
            lock_run(tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    for _ in range(2):
        with lock_run(tmp_path):
            pass


def test_locking_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot lock"), lock_run(tmp_path / "file" / "run"):
        pass


def test_a_folder_that_is_no_run_suggests_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "Hopper__pes__seed0__20250102-030405"
    (run / "policy" / "best").mkdir(parents=True)
    (run / "config.yaml").write_text("env: Hopper\n")
    assert is_run(run)
    assert require_run(run) == run
    with pytest.raises(UserError, match=r"does not exist; did you mean '.*030405'"):
        require_run(run.with_name("Hopper__pes__seed0__20250102-030406"))
    with pytest.raises(UserError, match=r"does not exist; did you mean 'runs/Hopper"):
        require_run(Path("Hopper__pes__seed0__20250102-030405"))
    with pytest.raises(UserError, match=r"has no config.yaml; did you mean '.*030405'"):
        require_run(run / "policy" / "best")
    with pytest.raises(UserError, match=r"has no config.yaml$"):
        require_run(tmp_path / "runs")


def test_provenance(tmp_path):
    assert write_provenance(tmp_path, "pes-rl train --run-dir 'a b'") == []
    recorded = json.loads((tmp_path / "versions.json").read_text())
    assert recorded["numpy"] == np.__version__
    assert {"python", "pes_rl", "mujoco", "jax", "platform", "cpu_count"} <= recorded.keys()
    write_text_atomic(tmp_path / "versions.json", json.dumps(recorded | {"numpy": "1.0"}))
    assert write_provenance(tmp_path, "pes-rl train --resume x") == [
        f"numpy 1.0 -> {np.__version__}"
    ]
    assert (tmp_path / "command.txt").read_text() == (
        "pes-rl train --run-dir 'a b'\npes-rl train --resume x\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["command.txt", "versions.json"]


def test_provenance_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, pathlib; from pes_rl.storage.run_folder import *\n"
        "write_provenance(pathlib.Path(sys.argv[1]))\n"
        "assert not {'jax', 'numpy', 'mujoco', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_whether_a_run_continues_bit_for_bit(tmp_path):
    assert read_exact_resume(tmp_path)
    for exact in (True, False):
        write_exact_resume(tmp_path, exact)
        assert read_exact_resume(tmp_path) is exact
        assert json.loads((tmp_path / "run.json").read_text()) == {"exact_resume": exact}


def test_commands_that_are_not_utf8_stay_as_they_are(tmp_path):
    (tmp_path / "command.txt").write_bytes(b"pes-rl \xff\n")
    write_provenance(tmp_path, "pes-rl train --run-dir \udcfe")
    assert (tmp_path / "command.txt").read_bytes() == (
        b"pes-rl \xff\npes-rl train --run-dir \xfe\n"
    )
