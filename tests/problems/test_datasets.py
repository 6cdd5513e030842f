"""Data sets: what scikit-learn ships, and local files, intact, missing and damaged."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.problems import datasets

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}i", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_idx(folder, train=20, test=10, side=28):
    """A data set in MNIST's format; gives back its training pixels and labels."""
    folder.mkdir(parents=True)
    made = {}
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = RNG.integers(0, 256, (count, side, side), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
        made[prefix] = pixels, labels
    return made


def write_cifar(folder, rows=4):
    folder.mkdir(parents=True)
    made = {}
    for name in datasets.CIFAR_PARTS:
        pixels = RNG.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
        labels = RNG.integers(0, 10, rows, dtype=np.uint8)
        raw = b"".join(
            bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)
        )
        (folder / name).write_bytes(raw)
        made[name] = pixels, labels
    return made


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("PES_RL_DATA", str(tmp_path))
    return tmp_path


def test_digits_are_the_digits():
    pytest.importorskip("sklearn")
    data = datasets.load("digits")
    assert data.train.images.shape == (1200, 64) and data.held_out.images.shape == (597, 64)
    assert data.train.images.dtype == np.float32 and data.train.labels.dtype == np.int32
    assert data.train.images.min() == 0 and data.train.images.max() == 1
    counts = np.bincount(np.concatenate([data.train.labels, data.held_out.labels]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # Nearest class mean: the labels belong to the images.
    means = np.stack([data.train.images[data.train.labels == c].mean(0) for c in range(10)])
    gaps = ((data.held_out.images[:, None] - means) ** 2).sum(-1)
    assert (gaps.argmin(1) == data.held_out.labels).mean() > 0.85
    np.testing.assert_array_equal(datasets.digits().train.images, data.train.images)


def test_diabetes_is_standardised():
    pytest.importorskip("sklearn")
    x, y = datasets.diabetes()
    assert x.shape == (442, 10) and y.shape == (442,)
    np.testing.assert_allclose([x.mean(0), x.std(0) - 1], 0, atol=1e-12)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def no_sklearn(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt '.\[data\]'"):
        datasets.load("digits")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_unpacked(name, here):
    made = write_idx(here / name)
    data = datasets.load(name)
    pixels, labels = made["train"]
    assert data.shape == (28, 28) and data.held_out.images.shape == (10, 784)
    np.testing.assert_array_equal(np.round(data.train.images * 255), pixels.reshape(20, 784))
    np.testing.assert_array_equal(data.train.labels, labels)
    raw = (here / name / "t10k-labels-idx1-ubyte").read_bytes()
    assert data.digests["t10k-labels-idx1-ubyte"] == hashlib.sha256(raw).hexdigest()
    assert len(data.digests) == 4


def test_idx_files_packed_are_compared_with_the_published_digest(here, monkeypatch):
    write_idx(here / "mnist")
    plain = here / "mnist" / "train-images-idx3-ubyte"
    expected = datasets.load("mnist").train.images
    packed = plain.with_name(plain.name + ".gz")
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is not the published file"):
        datasets.load("mnist")
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    monkeypatch.setitem(datasets.PUBLISHED, f"mnist/{packed.name}", digest)
    data = datasets.load("mnist")
    np.testing.assert_array_equal(data.train.images, expected)
    assert data.digests[packed.name] == digest


def test_cifar_from_files_and_from_its_archive(here, monkeypatch):
    folder = here / "cifar-10"
    made = write_cifar(folder)
    data = datasets.load("cifar-10")
    assert data.shape == (32, 32, 3)
    assert data.train.images.shape == (20, 3072) and data.held_out.images.shape == (4, 3072)
    pixels, labels = made["data_batch_2.bin"]
    image = np.round(data.train.images[5].reshape(32, 32, 3) * 255)
    np.testing.assert_array_equal(image[..., 2], pixels[1, 2])
    assert data.train.labels[5] == labels[1]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname="cifar-10-batches-bin")
    (folder / datasets.CIFAR_ARCHIVE).write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz is not the published file"):
        datasets.load("cifar-10")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    monkeypatch.setitem(datasets.PUBLISHED, f"cifar-10/{datasets.CIFAR_ARCHIVE}", digest)
    again = datasets.load("cifar-10")
    np.testing.assert_array_equal(again.train.images, data.train.images)
    assert again.digests == {datasets.CIFAR_ARCHIVE: digest}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", r"cannot read .*/mnist/train-images-idx3-ubyte: .*nothing is downloaded.*"),
        ("fashion-mnist", r"into .*/fashion-mnist, or set PES_RL_DATA to the folder that has"),
        ("cifar-10", r"cannot read .*/cifar-10/data_batch_1.bin: .*PES_RL_DATA"),
        ("mnits", r"unknown data set 'mnits'; did you mean 'mnist'\?"),
        ("zzz", "unknown data set 'zzz'; choose from digits, mnist, fashion-mnist, cifar-10"),
    ],
)
def test_absent_files_are_named_with_their_place(name, message, here):
    with pytest.raises(UserError, match=message):
        datasets.load(name)


def test_the_default_folder(monkeypatch):
    monkeypatch.delenv("PES_RL_DATA", raising=False)
    assert str(datasets.data_folder()) == "data"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no IDX file"),
        (b"\x80\x04\x95\x00", "is no IDX file of unsigned bytes: it begins with 80049500"),
        (b"\0\0\x0d\x01\0\0\0\x02ab", "is no IDX file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\x02", "ends within its header"),
        (idx(np.arange(5))[:-1], r"has 12 bytes, its header says 13 for \(5,\)"),
        (idx(np.arange(5)) + b"x", "has 14 bytes"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "has 8 bytes"),
    ],
)
def test_damaged_idx(raw, message):
    with pytest.raises(UserError, match=message):
        datasets.parse_idx(raw, "file")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "has 0 bytes"),
        (bytes(3072), "not a multiple of 3073"),
        (b"\x0a" + bytes(3072), "label 10; labels are 0 to 9"),
    ],
)
def test_damaged_cifar(raw, message):
    with pytest.raises(UserError, match=message):
        datasets.cifar_batch(raw, "file")


def test_images_and_labels_have_to_match(here):
    write_idx(here / "mnist")
    labels = here / "mnist" / "train-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(19)))
    with pytest.raises(UserError, match="20 images but 19 labels"):
        datasets.load("mnist")
    labels.write_bytes(idx(np.full(20, 11)))
    with pytest.raises(UserError, match="label 11"):
        datasets.load("mnist")
    labels.write_bytes(good)
    (here / "mnist" / "train-images-idx3-ubyte").write_bytes(good)
    with pytest.raises(UserError, match="has 1 axes instead of 3"):
        datasets.load("mnist")
