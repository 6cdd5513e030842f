"""The folder of a comparison: its lock, which runs it holds, and whether they fit the plan."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pes_rl.comparison.plan import Cell, Plan, cell_name
from pes_rl.config import FREE, OPTIONS, Config, with_neutral
from pes_rl.config.values import parse_value, read_yaml
from pes_rl.errors import UserError
from pes_rl.storage.files import plain, read_json, write_text_atomic
from pes_rl.storage.run_folder import COMMAND, CONFIG, read_versions, versions

PLAN, _LOCK = "comparison.json", ".lock"
# Gymnasium's reset seeds of the scoring episodes. Training draws its episodes from other streams.
SCORE_SEED = 1_000_000
_PACKAGES = ("pes_rl", "mujoco", "gymnasium", "jax", "numpy")
_VERSION_MARK = "  # "


@dataclass(frozen=True)
class Store:
    """Paths below a comparison's folder, and what is there."""

    root: Path

    def run(self, cell: Cell) -> Path:
        """Its run folder."""
        return self.root / "runs" / cell.name

    def score_file(self, cell: Cell) -> Path:
        """Where its scores are; outside the run folder, which stays as training left it."""
        return self.root / "scores" / f"{cell.name}.json"

    def timing_file(self, cell: Cell) -> Path:
        """Speed of the cell's environment and estimator."""
        return self.root / "timing" / f"{cell_name(cell.config)}.json"

    def log(self, name: str) -> Path:
        """What a worker wrote to its standard error."""
        return self.root / "logs" / f"{name}.txt"

    def score(self, cell: Cell) -> dict[str, Any] | None:
        """What is known of a run that has been trained to its budget, None of any other."""
        found = read_json(self.score_file(cell))
        trained = found is not None and found["env_steps"] >= cell.config.num_env_steps
        return found if trained and (self.run(cell) / CONFIG).is_file() else None

    def is_scored(self, cell: Cell, episodes: int) -> bool:
        """Whether nothing is left to do for a run."""
        score = self.score(cell)
        if score is None:
            return False
        result = score["score"]
        return (result["episodes"], result["seed"]) == (episodes, SCORE_SEED)

    def timing(self, cell: Cell) -> dict[str, Any] | None:
        """The measured speed, unless it is of other options, versions or another machine."""
        found = read_json(self.timing_file(cell))
        return found if found is not None and found["of"] == timing_key(cell) else None

    def check(self, cell: Cell) -> None:
        """Raise UserError if the run in the cell's folder is of another configuration."""
        run = self.run(cell)
        if (run / CONFIG).is_file():
            _check_config(run, cell.config)

    def versions(self, cell: Cell) -> str:
        """The packages that made a run; all of them where several took turns."""
        lines = (self.run(cell) / COMMAND).read_text("utf-8", "replace").splitlines()
        marked = [line.split(_VERSION_MARK)[-1] for line in lines if _VERSION_MARK in line]
        recorded = version_line(read_versions(self.run(cell)))
        return ", then ".join(dict.fromkeys(marked or [recorded]))

    def foreign_runs(self, plan: Plan) -> list[str]:
        """Names of other runs that are here."""
        planned = {cell.name for cell in plan.cells}
        folder = self.root / "runs"
        found = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
        return sorted(set(found) - planned)


@contextlib.contextmanager
def open_store(out: Path, plan: Plan) -> Iterator[Store]:
    """The folder, created if need be, held for this process and checked against the plan.

    Raises UserError, before anything has been written, when it is a file, cannot be written to,
    holds something else than a comparison or a run that does not fit, or is in use.
    """
    store = Store(out)
    with _refusal(out):
        _require_comparison(out)
        for cell in plan.cells:
            store.check(cell)
        out.mkdir(parents=True, exist_ok=True)
    with _lock(out):
        for cell in plan.cells:  # once more, now that nobody else can add runs
            store.check(cell)
        asked = {"command": plan.command(out.resolve().name), "versions": versions()}
        with _refusal(out):
            write_text_atomic(out / PLAN, json.dumps(plain(asked), indent=2) + "\n")
            for folder in ("runs", "scores", "timing", "logs", "plots"):
                (out / folder).mkdir(exist_ok=True)
        yield store


def _require_comparison(out: Path) -> None:
    """Raise UserError if ``out`` is there and is something else than a comparison."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    if out.is_dir() and not (out / PLAN).is_file():
        others = [path.name for path in out.iterdir() if path.name != _LOCK]
        if others:
            raise UserError(
                f"--out {out} is not empty and holds no comparison; name another folder"
            )


@contextlib.contextmanager
def _refusal(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to --out {out}: {error.strerror}; name another") from error


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(out / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another comparison is running in {out}; wait for it to end") from None
    except OSError as error:
        raise UserError(f"cannot lock {out}: {error.strerror}; name another --out") from error
    try:
        yield
    finally:
        lock.release()


def _check_config(run: Path, config: Config) -> None:
    recorded = with_neutral(read_yaml(run / CONFIG, str(run / CONFIG)))
    for name in recorded.keys() - OPTIONS.keys():
        raise UserError(_misfit(run, f"{name} {recorded[name]}, which this version does not have"))
    for name, option in OPTIONS.items():
        # An option younger than the run was at its default then.
        found, planned = option.default, getattr(config, name)
        if name in recorded:
            found = _parse(option.kind, recorded[name])
        if name == "num_env_steps" and isinstance(found, int) and found > planned:
            raise UserError(
                f"{run} has {found} env steps, more than the {planned} of this comparison; "
                "give at least as many, or another --out"
            )
        if name not in FREE and found != planned:
            text = f"no {name}" if found is dataclasses.MISSING else f"{name} {found}"
            raise UserError(_misfit(run, f"{text}, this comparison has {planned}"))


def _parse(kind: Any, text: Any) -> Any:
    try:
        return parse_value(kind, text)
    except ValueError:
        return text


def _misfit(run: Path, difference: str) -> str:
    return f"{run} was made with {difference}; give another --out, or delete that folder"


def timing_key(cell: Cell) -> dict[str, Any]:
    """What a measured speed depends on, as JSON."""
    config = dataclasses.asdict(cell.config)
    for name in ("seed", *FREE):
        del config[name]
    machine = {name: versions()[name] for name in (*_PACKAGES, "platform", "cpu_count")}
    return json.loads(json.dumps({"config": config, "machine": machine}))


def version_line(found: dict[str, Any]) -> str:
    """``pes_rl 0.1.0, mujoco 3.17.0, ...``."""
    return ", ".join(f"{name} {found.get(name)}" for name in _PACKAGES)


def marked_command(plan: Plan, out: Path) -> str:
    """The line that a run's command.txt is given: how it was asked for, and the versions."""
    return f"{plan.command(out.resolve().name)}{_VERSION_MARK}{version_line(versions())}"
