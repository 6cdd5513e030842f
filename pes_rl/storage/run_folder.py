"""The run folder: the names in it, its creation, its lock, and what it records of its making."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError, suggest
from pes_rl.storage.files import (
    keep_name,
    make_folders,
    read_json,
    write_bytes_atomic,
    write_text_atomic,
)

CONFIG, COMMAND, VERSIONS = "config.yaml", "command.txt", "versions.json"
METRICS, CHECKPOINTS = "metrics.jsonl", "checkpoints"
BEST_POLICY, LAST_POLICY = "policy/best", "policy/last"
_PROPERTIES, _LOCK = "run.json", ".lock"
_ATOMIC = (CONFIG, COMMAND, VERSIONS, METRICS, _PROPERTIES, "policy.safetensors", "policy.json")
# What a kill leaves of a file half written, and of the question whether a folder can be written to.
_LEFTOVER = re.compile(rf"\.({'|'.join(map(re.escape, _ATOMIC))})\.\d+\.tmp|\.probe-.*")
_PACKAGES = ("mujoco", "mujoco-mjx", "brax", "gymnasium", "jax", "jaxlib", "optax", "numpy")
_PACKAGES += ("playground", "gymnax")  # extras: None where they are not installed


def create_run(run_dir: Path) -> Path:
    """Create the folder ``run_dir``, unless it is there and empty, and return it.

    What a start leaves that was killed before there was a configuration counts for nothing.
    Raises UserError, and creates nothing, when it is not empty or cannot be written to.
    """
    with _writable(run_dir):
        names = (entry.name for entry in run_dir.iterdir())
        if any(name != _LOCK and not _LEFTOVER.fullmatch(name) for name in names):
            raise UserError(
                f"the run folder {run_dir} is not empty; name another --run-dir, or continue that "
                f"run with --resume {run_dir}"
            )
    return run_dir


def create_named_run(runs: Path, env: str, estimator: str, seed: int) -> Path:
    """Create a folder ``{env}__{estimator}__seed{n}__{YYYYmmdd-HHMMSS}`` in ``runs``; return it.

    Its name is made unique by ``-2``, ``-3``, ... Raises UserError, and creates nothing, when
    ``runs`` cannot be written to.
    """
    parts = (env, estimator, f"seed{seed}", time.strftime("%Y%m%d-%H%M%S"))
    name = "__".join(part.replace("/", "-").replace(":", "-") for part in parts)
    path, n = runs / name, 1
    with _writable(runs):
        while not _made(path):
            n += 1
            path = path.with_name(f"{name}-{n}")
    return path


def _made(folder: Path) -> bool:
    """Make the folder, unless it is there: of several runs that start at a time, one makes it."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    keep_name(folder)
    return True


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Inside, ``folder`` is there and can be written to; what was made goes again if that fails."""
    created: list[Path] = []
    try:
        created.extend(make_folders(folder))
        # Permissions alone do not say it: a read-only disk, or an access list, may still refuse.
        with tempfile.TemporaryFile(dir=folder, prefix=".probe-"):
            pass
        yield
    except OSError as error:
        for parent in reversed(created):
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise UserError(
            f"cannot write to the run folder {folder}: {error.strerror}; name another --run-dir"
        ) from error


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


def clear_leftovers(run_dir: Path) -> None:
    """Delete what kills have left half done; only for the process that holds the run.

    What cannot be deleted stays, for it is in nobody's way.
    """
    folders = (run_dir, run_dir / BEST_POLICY, run_dir / LAST_POLICY)
    files = [p for folder in folders for p in folder.glob(".*") if _LEFTOVER.fullmatch(p.name)]
    for path in (*files, *(run_dir / CHECKPOINTS).glob(".tmp-*")):
        with contextlib.suppress(OSError):
            remove(path)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def run_of(policy_folder: Path) -> Path:
    """The run whose policy is in ``policy_folder``, if it is one's."""
    return policy_folder.parents[len(Path(BEST_POLICY).parts) - 1]


def is_run(path: Path) -> bool:
    """Whether ``path`` is a folder that a training run has written its configuration to."""
    return os.path.isfile(path / CONFIG)


def require_run(path: Path) -> Path:
    """``path`` if it is a run folder, else UserError naming the nearest run."""
    if is_run(path):
        return path
    if path.parts[:1] == ("zoo",) and not path.exists():
        raise UserError(f"{path} is a policy without checkpoints; name a run folder")
    problem = f"has no {CONFIG}" if path.exists() else "does not exist"
    raise UserError(f"{path} is not a run folder: it {problem}{suggest_run(path)}")


def suggest_run(path: Path) -> str:
    """The hint ``"; did you mean '...'?"`` with the run around ``path``, or one of a like name."""
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
    from importlib import metadata  # a third of the time that `pes-rl --help` would take

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "pes_rl": metadata.version("pes-rl"),
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found | {"platform": platform.platform(), "cpu_count": os.cpu_count()}


def write_provenance(run_dir: Path, command: str | None = None) -> list[str]:
    """Record the command line (this process's by default) and the versions; return what changed.

    On resume the command is appended and versions.json describes the newest process. The list
    holds ``"numpy 2.3.0 -> 2.4.6"`` for every package that differs from the previous process.
    """
    commands, now = run_dir / COMMAND, versions()
    earlier = commands.read_bytes() if commands.exists() else b""
    line = shlex.join(sys.argv) if command is None else command
    before = read_versions(run_dir)
    # Words on a command line may be of any bytes, and so come back as they were.
    write_bytes_atomic(commands, earlier + f"{line}\n".encode(errors="surrogateescape"))
    write_text_atomic(run_dir / VERSIONS, json.dumps(now, indent=2) + "\n")
    changed = ((name, old) for name, old in before.items() if now.get(name) != old)
    return [f"{name} {old} -> {now.get(name)}" for name, old in changed]


def read_versions(run_dir: Path) -> dict[str, Any]:
    """The `versions` of the newest process that worked on a run; empty where none are recorded."""
    return read_json(run_dir / VERSIONS) or {}


def write_properties(run_dir: Path, **properties: Any) -> None:
    """Record what is known of the run, as JSON; what was recorded by other names stays."""
    recorded = read_properties(run_dir) | properties
    write_text_atomic(run_dir / _PROPERTIES, json.dumps(recorded) + "\n")


def read_properties(run_dir: Path) -> dict[str, Any]:
    """What `write_properties` recorded; empty for a run that says nothing.

    ``exact_resume``: whether the run, once interrupted, can be continued bit for bit.
    ``init_from``: the policy that it began with. ``changes``: what was changed when it was resumed,
    oldest first, each with ``env_steps`` and, by the fields' names, ``[before, after]``.
    ``trackers``: its ids in experiment trackers, by their names.
    """
    return read_json(run_dir / _PROPERTIES) or {}


def write_exact_resume(run_dir: Path, exact: bool) -> None:
    """Record whether the run, once interrupted, can be continued bit for bit."""
    write_properties(run_dir, exact_resume=exact)


def read_exact_resume(run_dir: Path) -> bool:
    """What `write_exact_resume` recorded; True for a run that does not say."""
    return read_properties(run_dir).get("exact_resume") is not False
