"""The run folder: creation, its lock, where it came from, and durable small files.

A file appears under its final name only when it is complete and on disk: written beside the
target, synced, renamed over it, and the folder synced too.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError, suggest

CONFIG, COMMAND, VERSIONS = "config.yaml", "command.txt", "versions.json"
_LOCK = ".lock"
_PACKAGES = ("mujoco", "mujoco-mjx", "brax", "gymnasium", "jax", "jaxlib", "optax", "numpy")


def fsync_folder(folder: Path) -> None:
    """Make creations, renames and deletions inside ``folder`` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


def create_run(run_dir: Path | None, env: str, estimator: str, seed: int) -> Path:
    """Create an empty run folder and return it.

    Without ``run_dir`` it is ``runs/{env}__{estimator}__seed{n}__{YYYYmmdd-HHMMSS}``, made unique
    by ``-2``, ``-3``, ... Raises UserError, and creates nothing, when ``run_dir`` is not empty or
    cannot be written to.
    """
    if run_dir is not None:
        return _make_writable(Path(run_dir))
    parts = (env, estimator, f"seed{seed}", time.strftime("%Y%m%d-%H%M%S"))
    name = "__".join(part.replace("/", "-").replace(":", "-") for part in parts)
    path, n = Path("runs") / name, 1
    while os.path.lexists(path):
        n += 1
        path = path.with_name(f"{name}-{n}")
    return _make_writable(path)


def _make_writable(path: Path) -> Path:
    missing = [p for p in (path, *path.parents) if not os.path.lexists(p)]
    created: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)  # two runs may start at the same time
            created.append(folder)
        if any(entry.name != _LOCK for entry in path.iterdir()):  # a start that failed leaves it
            raise UserError(
                f"the run folder {path} is not empty; name another --run-dir, or continue that "
                f"run with --resume {path}"
            )
        # Permissions alone do not say it: a read-only disk, or an access list, may still refuse.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        for folder in reversed(created):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise UserError(
            f"cannot write to the run folder {path}: {error.strerror}; name another --run-dir"
        ) from error
    return path


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Hold the run for this process, or raise UserError at once if another process has it.

    The operating system drops the lock with the process, however that ends.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(run_dir / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"the run folder {run_dir} is already in use by another process") from None
    except OSError as error:
        raise UserError(f"cannot lock the run folder {run_dir}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def is_run(path: Path) -> bool:
    """Whether ``path`` is a folder that a training run has written its configuration to."""
    return os.path.isfile(path / CONFIG)


def require_run(path: Path) -> Path:
    """``path`` if it is a run folder, else UserError naming the nearest run."""
    path = Path(path)
    if is_run(path):
        return path
    if path.parts[:1] == ("zoo",) and not path.exists():
        raise UserError(f"{path} is a policy without checkpoints; name a run folder")
    problem = f"has no {CONFIG}" if path.exists() else "does not exist"
    raise UserError(f"{path} is not a run folder: it {problem}{suggest_run(path)}")


def suggest_run(path: Path) -> str:
    """``"; did you mean '...'?"``: the run around ``path``, or one nearby or in runs/."""
    for parent in path.parents:
        if is_run(parent):
            return f"; did you mean '{parent}'?"
    return suggest(str(path), [str(run) for run in _runs_near(path)])


def _runs_near(path: Path) -> Iterator[Path]:
    for folder in dict.fromkeys((path.parent, Path("runs"))):
        with contextlib.suppress(OSError):
            yield from (run for run in sorted(folder.iterdir()) if is_run(run))


@functools.cache
def versions() -> dict[str, Any]:
    """What a run's numbers depend on: packages (nothing is imported), Python, machine."""
    own = importlib.metadata.version("pes-rl")
    found: dict[str, Any] = {"python": platform.python_version(), "pes_rl": own}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | {"platform": platform.platform(), "cpu_count": os.cpu_count()}


def write_provenance(run_dir: Path, command: str | None = None) -> list[str]:
    """Record the command line (this process's by default) and the versions; return what changed.

    On resume the command is appended and versions.json describes the newest process. The list
    holds ``"numpy 2.3.0 -> 2.4.6"`` for every package that differs from the previous process.
    """
    old_command, old_versions = run_dir / COMMAND, run_dir / VERSIONS
    before = old_command.read_text() if old_command.exists() else ""
    line = shlex.join(sys.argv) if command is None else command
    changes: list[str] = []
    if old_versions.exists():
        with contextlib.suppress(ValueError, AttributeError):
            for name, old in json.loads(old_versions.read_text()).items():
                if versions().get(name) != old:
                    changes.append(f"{name} {old} -> {versions().get(name)}")
    write_text_atomic(old_command, f"{before}{line}\n")
    write_text_atomic(old_versions, json.dumps(versions(), indent=2) + "\n")
    return changes
