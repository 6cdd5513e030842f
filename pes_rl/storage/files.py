"""Paths as users give them, small files that are never half written, and values as JSON has them.

A file appears under its final name only when it is complete and on disk: written beside the
target, synced, renamed over it, and the folder synced too.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError

Place = str | os.PathLike[str]
"""A path as a user gives it: text, a path, or a run that has been trained."""


def as_path(place: Place) -> Path:
    """``place`` with ``~`` expanded, relative if it was given so.

    Raises UserError where it is nothing like a path, or where files cannot be named: some of a
    run's say where it is, in UTF-8.
    """
    try:
        path = Path(place).expanduser()
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"the path {str(place)!a} is not UTF-8; rename it, or name another"
        ) from None
    except TypeError:
        raise UserError(f"a path or a run is needed, not {type(place).__name__}") from None
    except RuntimeError as error:  # ``~nobody``
        raise UserError(f"cannot find the folder {place}: {error}") from None
    return path


def fsync_folder(folder: Path) -> None:
    """Make creations, renames and deletions inside ``folder`` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path) -> Iterator[Path]:
    """Make what is missing of ``folder`` and those above it, one by one, to survive a power cut."""
    for path in reversed([p for p in (folder, *folder.parents) if not os.path.lexists(p)]):
        path.mkdir(exist_ok=True)  # two runs may start at the same time
        yield path
        keep_name(path)


def keep_name(path: Path) -> None:
    """Make what was created at ``path`` survive a power cut under its name, if that can be done.

    The folder that it is in may be somebody else's, and not be readable.
    """
    with contextlib.suppress(OSError):
        fsync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it; not atomic, for folders not yet visible."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_bytes_atomic(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace ``path`` by ``data``: whoever looks, whenever, finds the old or the new content.

    Without ``durable`` a power cut may still lose it; waiting for the disk takes milliseconds.
    Raises OSError and leaves the old file and no temporary one when the disk refuses.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if durable:
            write_synced(temp, data)
        else:
            temp.write_bytes(data)
        os.replace(temp, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise
    if durable:
        fsync_folder(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8), see ``write_bytes_atomic``."""
    write_bytes_atomic(path, text.encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file is not there, or holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def plain(value: Any) -> Any:
    """``value`` as strict JSON can hold it: NumPy and JAX scalars as Python's, NaN, inf as None."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return plain(value.tolist() if hasattr(value, "tolist") else str(value))
