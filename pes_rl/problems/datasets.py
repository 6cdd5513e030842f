"""Image data: scikit-learn's digits, and readers of local MNIST, Fashion-MNIST and CIFAR-10 files.

Nothing is downloaded here (``pes-rl data`` is for that). Local files are looked for in the folder
that the environment variable ``PES_RL_DATA`` names (``data`` without it):

    mnist/            train-images-idx3-ubyte  train-labels-idx1-ubyte  and the two of t10k
    fashion-mnist/    the same four names
    cifar-10/         cifar-10-binary.tar.gz, or data_batch_1.bin to _5.bin and test_batch.bin

IDX files may be as published, with ``.gz``, or unpacked. The formats are plain bytes: no pickle is
ever read. Published archives have to have their published SHA-256; of unpacked files magic number,
shape, length and label range are checked. The SHA-256 of everything read is in `Dataset.digests`.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pes_rl.errors import UserError, suggest
from pes_rl.problems.files import read_bytes

PUBLISHED = {
    "mnist/train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "mnist/train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "mnist/t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "mnist/t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
    "fashion-mnist/train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "fashion-mnist/train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "fashion-mnist/t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
    "cifar-10/cifar-10-binary.tar.gz": (
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    ),
}
"""SHA-256 of the files as their authors publish them."""

CIFAR_SHAPE = (32, 32, 3)
CIFAR_ROW = 1 + 32 * 32 * 3
CIFAR_PARTS = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


class Images(NamedTuple):
    """Flat images float32 [M, D] in 0..1, and their classes int32 [M] in 0..9."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> Images:
        """The first ones."""
        return Images(self.images[:count], self.labels[:count])


class Dataset(NamedTuple):
    """Ten classes of images.

    Attributes:
      name: as given to `load`.
      train: for the inner training.
      held_out: none of train; of a published data set its test set.
      shape: of one image, D values: (rows, columns) or (rows, columns, channels).
      digests: SHA-256 of every file read, by file name.
    """

    name: str
    train: Images
    held_out: Images
    shape: tuple[int, ...]
    digests: dict[str, str]


def load(name: str) -> Dataset:
    """One of digits, mnist, fashion-mnist, cifar-10.

    Raises:
      UserError: no such data set, a package or a file is missing, or a file is not what it should
        be; the message names it.
    """
    if name not in LOADERS:
        hint = suggest(name, LOADERS) or f"; choose from {', '.join(LOADERS)}"
        raise UserError(f"unknown data set {name!r}{hint}")
    return LOADERS[name]()


def digits(held_out: int = 597) -> Dataset:
    """scikit-learn's 1797 digits of 8 x 8 pixels, shuffled once and for all."""
    data = _sklearn_datasets().load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.data[order] / 16).astype(np.float32)
    every = Images(images, data.target[order].astype(np.int32))
    kept = len(order) - held_out
    held = Images(*(part[kept:] for part in every))
    return Dataset("digits", every.first(kept), held, (8, 8), {})


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's diabetes, standardised: inputs [442, 10], targets [442], float64."""
    x, y = _sklearn_datasets().load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def mnist() -> Dataset:
    """The 60 000 and 10 000 images of 28 x 28 (LeCun, Cortes and Burges 1998)."""
    return _idx_dataset("mnist")


def fashion_mnist() -> Dataset:
    """The 60 000 and 10 000 images of 28 x 28 (Xiao, Rasul and Vollgraf 2017)."""
    return _idx_dataset("fashion-mnist")


def cifar10() -> Dataset:
    """The 50 000 and 10 000 colour images of 32 x 32 (Krizhevsky 2009), from the binary version."""
    folder = data_folder() / "cifar-10"
    archive, digests = folder / CIFAR_ARCHIVE, {}
    if archive.exists():
        parts = _unpack(archive, _read(archive, digests))
    else:
        parts = {name: _read(folder / name, digests) for name in CIFAR_PARTS}
    batches = [cifar_batch(parts[name], name) for name in CIFAR_PARTS]
    train = Images(*(np.concatenate(column) for column in zip(*batches[:-1], strict=True)))
    return Dataset("cifar-10", train, batches[-1], CIFAR_SHAPE, digests)


LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar-10": cifar10,
}


def data_folder() -> Path:
    """Where local files are looked for."""
    return Path(os.environ.get("PES_RL_DATA") or "data").expanduser()


def parse_idx(raw: bytes, name: str) -> np.ndarray:
    """The uint8 array in an IDX file.

    Args:
      raw: two zero bytes, the type (8: unsigned byte), the number of axes n, n big-endian int32
        sizes, and the values.
      name: for the message.

    Raises:
      UserError: it is not that.
    """
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 3:
        raise UserError(f"{name} is no IDX file of unsigned bytes: it begins with {raw[:4].hex()}")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise UserError(f"{name} ends within its header; copy it again")
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">i4"))
    expected = start + int(np.prod(shape))
    if len(raw) != expected or min(shape) < 1:
        raise UserError(
            f"{name} has {len(raw)} bytes, its header says {expected} for {shape}; copy it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def cifar_batch(raw: bytes, name: str) -> Images:
    """Images from CIFAR-10's binary format: a label byte, then red, green and blue planes.

    Raises:
      UserError: the length is no multiple of a row, or a label is not in 0..9.
    """
    if not raw or len(raw) % CIFAR_ROW:
        raise UserError(
            f"{name} has {len(raw)} bytes, not a multiple of {CIFAR_ROW} as CIFAR-10's binary "
            "version has; copy it again"
        )
    rows = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR_ROW)
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)
    return _images(planes.transpose(0, 2, 3, 1), rows[:, 0], name)


def _idx_dataset(name: str) -> Dataset:
    digests: dict[str, str] = {}

    def part(prefix: str) -> Images:
        arrays = []
        for kind, axes in (("images-idx3", 3), ("labels-idx1", 1)):
            plain = data_folder() / name / f"{prefix}-{kind}-ubyte"
            packed = plain.with_name(plain.name + ".gz")
            path = packed if packed.exists() else plain
            raw = _read(path, digests)
            array = parse_idx(gzip.decompress(raw) if path is packed else raw, str(path))
            if array.ndim != axes:
                raise UserError(f"{path} has {array.ndim} axes instead of {axes}: another IDX file")
            arrays.append(array)
        pixels, labels = arrays
        return _images(pixels, labels, f"{data_folder() / name / prefix}-*")

    train, test = part("train"), part("t10k")
    side = round(train.images.shape[1] ** 0.5)
    return Dataset(name, train, test, (side, side), digests)


def _images(pixels: np.ndarray, labels: np.ndarray, name: str) -> Images:
    if len(pixels) != len(labels):
        raise UserError(f"{name}: {len(pixels)} images but {len(labels)} labels")
    if labels.max() > 9:
        raise UserError(f"{name} has the label {labels.max()}; labels are 0 to 9")
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    return Images(flat, labels.astype(np.int32))


def _read(path: Path, digests: dict[str, str]) -> bytes:
    """The bytes of a file, its digest noted, and compared where it is published."""
    raw = read_bytes(path, digests)
    digest = digests[path.name]
    published = PUBLISHED.get(f"{path.parent.name}/{path.name}", digest)
    if digest != published:
        raise UserError(
            f"{path} is not the published file: SHA-256 {digest}, published {published}; "
            "copy it again"
        )
    return raw


def _unpack(path: Path, raw: bytes) -> dict[str, bytes]:
    """CIFAR's files in its archive, by name; nothing is written to disk."""
    parts = {}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                parts[Path(member.name).name] = stream.read()
    for name in CIFAR_PARTS:
        if name not in parts:
            raise UserError(f"{path} has no {name}; copy it again")
    return parts


def _sklearn_datasets() -> Any:
    try:
        from sklearn import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "this data comes with scikit-learn, which is not installed; "
            "pip install -c constraints.txt '.[data]'"
        ) from None
    return datasets
