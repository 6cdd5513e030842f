"""Checkpoints survive kills at every step of a save, full disks and damaged files."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.particles.statistics import Count
from pes_rl.storage import checkpoint
from pes_rl.storage.checkpoint import flatten, load_latest, save_checkpoint, unflatten


def arrays_of(value: float) -> dict[str, np.ndarray]:
    return {"theta": np.full(5, value, np.float32), "empty": np.zeros((0, 3))}


def save(run: Path, env_steps: int, value: float) -> Path:
    return save_checkpoint(run, env_steps, arrays_of(value), {"value": value})


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_arrays_and_meta_come_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "key": rng.integers(0, 2**32, (3, 2), dtype=np.uint32),
        "steps": np.array(2**53 + 1, np.int64),
        "dead": rng.random((2, 2)) < 0.5,
        "state/qpos": rng.standard_normal((4, 6)).T,  # not contiguous
        "nan": np.array([np.nan, -0.0, np.inf]),
        "none": np.zeros((0, 7), np.float32),
    }
    meta = {"best": -math.inf, "update": np.int64(3), "third": 1 / 3, "name": "Zwölf"}
    path = save_checkpoint(tmp_path, 1234, arrays, meta)
    assert path == tmp_path / "checkpoints" / "000000001234"
    loaded = load_latest(tmp_path)
    assert (loaded.path, loaded.skipped, loaded.meta) == (path, [], meta)
    assert loaded.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].shape == array.shape
        assert loaded.arrays[name].tobytes() == array.tobytes()
        assert loaded.arrays[name].flags.writeable


def test_keeps_the_newest_two_and_clears_what_crashes_left(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step, step)
    stale = tmp_path / "checkpoints" / ".tmp-000000000035"
    stale.mkdir()
    (stale / "arrays.safetensors").write_bytes(b"half")
    save(tmp_path, 40, 40)
    assert names(tmp_path) == ["000000000030", "000000000040"]
    save(tmp_path, 40, 41)
    assert names(tmp_path) == ["000000000030", "000000000040"]
    assert load_latest(tmp_path).meta["value"] == 41


def test_as_many_are_kept_as_wanted(tmp_path):
    for step in (10, 20, 30, 40):
        save_checkpoint(tmp_path, step, arrays_of(step), {}, keep=3)
    assert names(tmp_path) == ["000000000020", "000000000030", "000000000040"]


def test_plain_files_are_in_nobody_s_way(tmp_path):
    save(tmp_path, 10, 10)
    folder = tmp_path / "checkpoints"
    for name in (".tmp-x", ".tmp-000000000020", ".tmp-000000000015.gone", "000000000015"):
        (folder / name).write_text("mine")
    (folder / ".tmp-link").symlink_to(tmp_path)
    save(tmp_path, 20, 20)
    assert names(tmp_path) == ["000000000010", "000000000020"]
    assert load_latest(tmp_path).meta["value"] == 20


def test_a_run_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        save(tmp_path / "gone", 10, 10)
    assert not list(tmp_path.iterdir())


def test_the_spare_checkpoint_is_an_intact_one(tmp_path):
    save(tmp_path, 10, 10)
    damaged = save(tmp_path, 20, 20)
    (damaged / "meta.json").write_bytes(b"")
    save(tmp_path, 15, 15)  # resumed from 10; what lies ahead is the damaged one
    assert names(tmp_path) == ["000000000010", "000000000015"]
    (tmp_path / "checkpoints" / "000000000015" / "meta.json").write_bytes(b"")
    save(tmp_path, 25, 25)
    assert names(tmp_path) == ["000000000010", "000000000025"]


def damages(data: bytes) -> list[bytes]:
    positions = np.unique(np.linspace(0, len(data) - 1, 200).astype(int))
    flipped = []
    for i in positions:
        changed = bytearray(data)
        changed[i] ^= 1 << int(i % 8)
        flipped.append(bytes(changed))
    return [b"", data[: len(data) // 2], data[:-1], data + b"\0", *flipped]


@pytest.mark.parametrize("file", ["arrays.safetensors", "meta.json", "manifest.json"])
def test_damage_is_noticed_and_the_previous_checkpoint_used(tmp_path, file):
    save(tmp_path, 10, 1.0)
    target = save(tmp_path, 20, 2.0) / file
    data = target.read_bytes()
    for bad in damages(data):
        target.write_bytes(bad)
        loaded = load_latest(tmp_path)
        assert loaded.meta == {"value": 1.0}
        assert len(loaded.skipped) == 1
        assert "000000000020" in loaded.skipped[0]
        assert file in loaded.skipped[0] or "manifest" in loaded.skipped[0]
    target.unlink()
    assert f"cannot read {file}" in load_latest(tmp_path).skipped[0]
    target.write_bytes(data)
    assert load_latest(tmp_path).meta == {"value": 2.0}


def test_no_intact_checkpoint_is_an_error(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint"):
        load_latest(tmp_path)
    (save(tmp_path, 10, 1.0) / "meta.json").write_bytes(b"{}")
    with pytest.raises(UserError, match=r"no intact checkpoint.*meta\.json does not match"):
        load_latest(tmp_path)


def test_another_schema_is_an_error_that_names_both(tmp_path, monkeypatch):
    save(tmp_path, 10, 1.0)
    monkeypatch.setattr(checkpoint, "SCHEMA", 7)
    save(tmp_path, 20, 2.0)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"incompatible version.* schema 7 .*reads schema 5"):
        load_latest(tmp_path)


def test_a_run_of_the_schema_before_goes_on(tmp_path, monkeypatch):
    """Then, sigma fell from the run's beginning on, whichever start it was."""
    monkeypatch.setattr(checkpoint, "SCHEMA", 4)
    steps = Count(np.zeros((), np.uint32), np.full((), 7, np.uint32))
    save_checkpoint(tmp_path, 7, flatten({"train": {"env_steps": steps}}), {})
    monkeypatch.undo()
    expected = {"train": {"env_steps": steps, "begun": Count.zero()}}
    assert unflatten(expected, load_latest(tmp_path).arrays) == expected


@pytest.mark.parametrize("function", ["fsync", "replace", "mkdir"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, function):
    real = getattr(os, function)
    save(tmp_path, 10, 1.0)
    before = names(tmp_path)

    def failing_at(number: int):
        countdown = iter(range(number, -1000, -1))

        def full(*args, **kwargs):
            if next(countdown) == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return full

    number = 0
    for number in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, failing_at(number))
            try:
                save(tmp_path, 10, 2.0)
            except UserError as error:
                assert "000000000010: No space left" in str(error)
            else:
                break
        loaded = load_latest(tmp_path)
        assert not loaded.skipped
        assert loaded.meta["value"] in (1.0, 2.0)
        assert ".tmp-000000000010" not in names(tmp_path)
        save(tmp_path, 10, 1.0)  # the disk has space again
        assert names(tmp_path) == before
    assert number == {"fsync": 6, "replace": 3, "mkdir": 1}[function]


def test_an_unwritable_place_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot save the checkpoint .*Not a directory"):
        save(tmp_path / "file" / "run", 10, 1.0)


KILLER = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from pes_rl.storage import checkpoint
from pes_rl.errors import UserError
import safetensors.numpy

root = Path(sys.argv[1])
os.fsync = lambda fd: None  # a killed process, unlike a power cut, leaves the page cache alone
HOOKS = ("fsync", "replace", "mkdir", "rmdir", "unlink")

def save(run, step, value):
    arrays = {"theta": np.full(50, value, np.float32)}
    checkpoint.save_checkpoint(run, step, arrays, {"value": value})

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(fatal):
    # Dies before call number 0, after it, before number 1, ...; write_synced dies half-way too.
    count = [0]
    def tick():
        if count[0] == fatal: die()
        count[0] += 1
    def wrap(real):
        def hooked(*args, **kwargs):
            tick()
            result = real(*args, **kwargs)
            tick()
            return result
        return hooked
    for name in HOOKS:
        setattr(os, name, wrap(getattr(os, name)))
    real_write = checkpoint.write_synced
    def half(path, data):
        if count[0] == fatal:
            path.write_bytes(data[: len(data) // 2])
        tick()
        real_write(path, data)
    checkpoint.write_synced = half

def survives(template, step, allowed):
    fatal = 0
    while True:
        run = root / f"{template.name}-{step}-{fatal}"
        shutil.copytree(template, run)
        child = os.fork()
        if child == 0:
            arm(fatal)
            save(run, step, 99.0)
            os._exit(0)
        killed = os.waitpid(child, 0)[1] != 0
        try:
            loaded = checkpoint.load_latest(run)
            assert loaded.skipped == [], loaded.skipped
            value = loaded.meta["value"]
            assert (loaded.arrays["theta"] == value).all()
        except UserError as error:
            assert "has no checkpoint" in str(error), error
            value = None
        assert value in allowed, (template, step, fatal, value)
        save(run, step + 5, 100.0)
        assert checkpoint.load_latest(run).meta["value"] == 100.0
        left = sorted(p.name for p in (run / "checkpoints").iterdir())
        assert left[-1] == f"{step + 5:012d}" and len(left) <= 2, left
        assert not any(name.startswith(".tmp") for name in left), left
        shutil.rmtree(run)
        if not killed:
            assert value == 99.0
            return fatal
        fatal += 1

for saved, step in [((), 10), ((10,), 20), ((10, 20), 30), ((10,), 10), ((10, 20), 20)]:
    template = root / f"t{len(saved)}"
    if not template.exists():
        template.mkdir()
    for s in saved:
        save(template, s, float(s))
    last = float(saved[-1]) if saved else None
    print(len(saved), step, survives(template, step, (last, 99.0)))
"""


def test_sigkill_at_every_call_of_a_save(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    kills = [int(line.split()[2]) for line in done.stdout.splitlines()]
    assert len(kills) == 5
    assert min(kills) >= 15  # the hooks were really reached


def test_meta_is_json(tmp_path):
    header = json.loads((save(tmp_path, 1, 2.0) / "meta.json").read_text())
    assert header["schema"] == checkpoint.SCHEMA
