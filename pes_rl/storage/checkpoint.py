"""Checkpoints: everything the next update depends on, never half written.

``checkpoints/{env_steps:012d}/`` holds ``arrays.safetensors``, ``meta.json`` and, written last,
``manifest.json`` with the size and SHA-256 of both. A checkpoint is prepared in a hidden folder
beside it, synced, and renamed into place; older ones go only after that rename is on disk. So at
every instant there is a complete checkpoint once the first save has returned, and damage that
happens later is noticed by the hashes and answered by the previous checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.errors import UserError
from pes_rl.storage.files import fsync_folder, write_synced
from pes_rl.storage.run_folder import CHECKPOINTS, clear_leftovers, remove, versions

# 2: pairs carry their numbers; 3: one form on host and device; 4: credit, average; 5: begun.
SCHEMA = 5
_ARRAYS, _META, _MANIFEST = "arrays.safetensors", "meta.json", "manifest.json"
_OPAQUE = "opaque"  # as simulators call saved environments
# While a checkpoint of the same env_steps is replaced, the one it replaces is still there as .old.
_NAME = re.compile(r"(\d{12,})(\.old)?")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint; ``skipped`` names newer ones that were damaged, and how."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    path: Path
    skipped: list[str]


class _DamagedError(Exception):
    """A checkpoint that does not match its own manifest."""


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Leaves of nested dicts, (named) tuples and lists by ``/``-joined path; None has no leaf.

    A leaf is a number or anything NumPy can turn into an array (JAX arrays included).
    """
    return {name: np.asarray(leaf) for name, leaf in _leaves(tree, "")}


def unflatten(template: Any, arrays: dict[str, np.ndarray]) -> Any:
    """``arrays`` in the structure of ``template``, whose leaves give shapes and dtypes.

    The rows of an array called ``opaque`` may have another length: these are saved environments.

    Leaves become NumPy arrays, or Python numbers where the template has those. Raises UserError
    naming the first leaf that is missing, left over, or of another shape or dtype.
    """
    expected = dict(_leaves(template, ""))
    for name in sorted(expected.keys() ^ arrays.keys()):
        problem = "lacks" if name in expected else "has an unknown array"
        raise UserError(f"the checkpoint does not fit this configuration: it {problem} '{name}'")
    for name, leaf in expected.items():
        # Descriptions such as jax.ShapeDtypeStruct serve as well as arrays.
        spec = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)
        parts = slice(-1) if name.split("/")[-1] == _OPAQUE else slice(None)
        want, got = (f"{x.dtype}{list(x.shape[parts])}" for x in (spec, arrays[name]))
        if want != got:
            raise UserError(
                f"the checkpoint does not fit this configuration: '{name}' is {got}, not {want}"
            )
    return _rebuild(template, "", arrays)


def _children(tree: Any) -> dict[str, Any] | None:
    """Named children of a container; None for a leaf."""
    if tree is None:
        return {}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(tree, tuple | list):
        return {str(i): child for i, child in enumerate(tree)}
    if not isinstance(tree, dict):
        return None
    if any(not isinstance(key, str) or "/" in key for key in tree):
        raise ValueError(f"keys must be strings without '/': {list(tree)}")
    return tree


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = _children(tree)
    if children is None:
        yield path, tree
    for name, child in (children or {}).items():
        yield from _leaves(child, f"{path}/{name}" if path else name)


def _rebuild(template: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    children = _children(template)
    if template is None:
        return None
    if children is None:
        array = arrays[path]
        return type(template)(array.item()) if isinstance(template, int | float) else array
    parts = {
        name: _rebuild(child, f"{path}/{name}" if path else name, arrays)
        for name, child in children.items()
    }
    if isinstance(template, dict):
        return parts
    kind = type(template)
    return kind(**parts) if hasattr(template, "_fields") else kind(parts.values())


def save_checkpoint(
    run_dir: Path,
    env_steps: int,
    arrays: dict[str, np.ndarray],
    meta: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write ``checkpoints/{env_steps:012d}`` durably; the ``keep`` newest good ones stay.

    ``arrays`` may have any NumPy dtype that safetensors knows (float16 to float64, integers, bool)
    and any shape; ``meta`` is JSON. An existing checkpoint of the same ``env_steps`` is replaced.
    Raises UserError when the disk refuses or ``run_dir`` is not there; what was saved before is
    then untouched.
    """
    folder = Path(run_dir) / CHECKPOINTS
    target = folder / f"{env_steps:012d}"
    temp = folder / f".tmp-{target.name}"
    try:
        if not folder.exists():
            folder.mkdir()
            fsync_folder(folder.parent)
        clear_leftovers(folder.parent)
        _write(temp, arrays, meta)
        _publish(temp, target)
        _prune(folder, target, keep)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot save the checkpoint {target}: {reason}; checkpoints saved before are intact"
        ) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return target


def _write(temp: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    from safetensors.numpy import save

    # safetensors writes memory as it lies, so transposed views must be laid out first.
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # NaN and infinity stay as Python's JSON extension: a best return of -inf must come back.
    header = {"schema": SCHEMA, "pes_rl": versions()["pes_rl"], "meta": meta}
    files = {_ARRAYS: save(ordered), _META: json.dumps(header, default=_scalar).encode()}
    temp.mkdir()
    for name, data in files.items():
        write_synced(temp / name, data)
    manifest = {name: _fingerprint(data) for name, data in files.items()}
    write_synced(temp / _MANIFEST, json.dumps(manifest, indent=1).encode())
    fsync_folder(temp)


def _scalar(value: Any) -> Any:
    return value.tolist()  # NumPy and JAX numbers, which json does not know


def _publish(temp: Path, target: Path) -> None:
    old = target.with_name(f"{target.name}.old")
    if target.exists():
        if old.exists():  # from a replacement that was cut short: keep whichever is intact
            _discard(old if _is_intact(target) else target)
        if target.exists():
            os.replace(target, old)
            fsync_folder(target.parent)
    os.replace(temp, target)
    fsync_folder(target.parent)


def _prune(folder: Path, newest: Path, keep: int) -> None:
    """Keep ``newest`` and the ``keep`` - 1 latest intact ones before it.

    Later ones are dropped as well: a run continues from its latest intact checkpoint, so whatever
    lies beyond the present one was found damaged.
    """
    spare = 0
    for path in _candidates(folder):
        before = _order(path)[0] < _order(newest)[0]
        if spare < keep - 1 and before and _is_intact(path):
            spare += 1
        elif path != newest:
            _discard(path)


def _discard(path: Path) -> None:
    # Renamed first, so that a deletion cut short is not taken for a damaged checkpoint.
    doomed = path.with_name(f".tmp-{path.name}.gone")
    os.replace(path, doomed)
    remove(doomed)


def has_checkpoint(run_dir: Path) -> bool:
    """Whether a run has saved a checkpoint, be it damaged since or not."""
    return bool(_candidates(Path(run_dir) / CHECKPOINTS))


def load_latest(run_dir: Path) -> Checkpoint:
    """The newest intact checkpoint of a run.

    Raises UserError when there is none, or when the newest was written with another ``SCHEMA``.
    """
    folder, skipped = Path(run_dir) / CHECKPOINTS, []
    for path in _candidates(folder):
        try:
            files = _read_verified(path)
        except _DamagedError as damage:
            skipped.append(f"{path}: {damage}")
            continue
        return _decode(path, files, skipped)
    if not skipped:
        raise UserError(f"{run_dir} has no checkpoint to resume from; start a new run")
    raise UserError(f"no intact checkpoint in {folder}: " + "; ".join(skipped[:2]))


def _decode(path: Path, files: dict[str, bytes], skipped: list[str]) -> Checkpoint:
    from safetensors.numpy import load

    header = json.loads(files[_META])
    if header["schema"] not in (4, SCHEMA):
        raise UserError(
            f"run made by an incompatible version: {path} has checkpoint schema "
            f"{header['schema']} (pes-rl {header.get('pes_rl', 'unknown')}), but pes-rl "
            f"{versions()['pes_rl']} reads schema {SCHEMA}; use the version that made the run"
        )
    arrays = {name: np.require(a, requirements="W") for name, a in load(files[_ARRAYS]).items()}
    if header["schema"] == 4 and "train/env_steps/low" in arrays:  # its sigma fell from the first
        zero = np.zeros((), np.uint32)
        arrays |= {"train/begun/high": zero, "train/begun/low": zero.copy()}
    return Checkpoint(arrays, header["meta"], path, skipped)


def _candidates(folder: Path) -> list[Path]:
    """Checkpoint folders, the one to try first in front."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return sorted(found, key=_order, reverse=True)


def _order(path: Path) -> tuple[int, bool]:
    match = _NAME.fullmatch(path.name)
    assert match
    return int(match[1]), match[2] is None


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read_verified(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint, read once: what is verified is what is used."""
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        files = {name: (path / name).read_bytes() for name in (_ARRAYS, _META)}
    except OSError as error:
        name = Path(error.filename).name if error.filename else path.name
        raise _DamagedError(f"cannot read {name} ({error.strerror})") from error
    except ValueError as error:
        raise _DamagedError(f"{_MANIFEST} is damaged") from error
    for name, data in files.items():
        expected = manifest.get(name) if isinstance(manifest, dict) else None
        if expected != _fingerprint(data):
            raise _DamagedError(f"{name} does not match {_MANIFEST}")
    return files


def _is_intact(path: Path) -> bool:
    with contextlib.suppress(_DamagedError):
        _read_verified(path)
        return True
    return False
