"""Training runs on disk: create or resume a run folder, train, save, and stop cleanly."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pes_rl import __version__
from pes_rl.checkpoint import Checkpoint, flatten, load_latest, save_checkpoint, unflatten
from pes_rl.config import Config, load_config, save_config, validate
from pes_rl.envs.registry import resolve
from pes_rl.errors import UserError
from pes_rl.metrics import MetricsWriter, read_metrics
from pes_rl.policy_io import SavedPolicy, load_policy, save_policy
from pes_rl.progress import Progress
from pes_rl.run_folder import (
    create_run,
    is_run,
    lock_run,
    require_run,
    write_provenance,
    write_text_atomic,
)
from pes_rl.runtime import single_threaded_math
from pes_rl.signals import leave_if, stop_signals

if TYPE_CHECKING:
    from pes_rl.trainer import Trainer


class Run(NamedTuple):
    """A run that has stopped: its folder, env steps consumed, last and best evaluation."""

    path: Path
    env_steps: int
    last_return: float
    best_return: float

    @property
    def policy(self) -> SavedPolicy:
        """The best policy evaluated so far (the last one if none was)."""
        return load_policy(self.path)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.jsonl``."""
        return read_metrics(self.path)


def train_from_config(config: Config, run_dir: Path | None, command: str) -> Run:
    """Start a new run in ``run_dir`` (default: a new folder below ``runs/``) and train it.

    Raises:
      UserError: the folder is not empty or cannot be written; nothing has been created then.
      KeyboardInterrupt, SystemExit(143): SIGINT or SIGTERM arrived; what exists has been saved.
    """
    with stop_signals() as stop, single_threaded_math():
        trainer = _make_trainer(config)
        leave_if(stop)
        path = create_run(run_dir, config.env, config.estimator, config.seed)
        with lock_run(path):
            if is_run(path):
                raise UserError(f"the run folder {path} was taken by another run; name another")
            save_config(config, path / "config.yaml")
            write_provenance(path, command)
            write_text_atomic(
                path / "run.json", json.dumps({"exact_resume": trainer.exact_resume}) + "\n"
            )
            return _Session(trainer, path, None).train(stop)


def resume(
    run: Path,
    num_env_steps: int | None = None,
    num_threads: int | None = None,
    checkpoint_every: int | None = None,
    command: str = "",
) -> Run:
    """Continue a run from its newest intact checkpoint, bit for bit where the engine allows.

    Raises:
      UserError: ``run`` is no run, is in use, has no intact checkpoint, or was made by an
        incompatible version.
      KeyboardInterrupt, SystemExit(143): as in `train_from_config`.
    """
    path = require_run(run)
    with stop_signals() as stop, single_threaded_math(), lock_run(path):
        changes = {
            "num_env_steps": num_env_steps,
            "num_threads": num_threads,
            "checkpoint_every": checkpoint_every,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        config = replace(_load_config(path), **given)
        validate(config)
        checkpoint = load_latest(path)
        if num_env_steps is not None and num_env_steps < checkpoint.meta["env_steps"]:
            raise UserError(
                f"--num-env-steps {config.num_env_steps} is less than the "
                f"{checkpoint.meta['env_steps']} that {path} has trained; give more to extend it"
            )
        for skipped in checkpoint.skipped:
            print(f"pes-rl: warning: skipped a damaged checkpoint: {skipped}", file=sys.stderr)
        trainer = _make_trainer(config)
        trainer.restore(unflatten(trainer.state(), checkpoint.arrays))
        if not trainer.exact_resume:
            print(
                "pes-rl: warning: this engine cannot restore its environments; every pair starts "
                "a new episode",
                file=sys.stderr,
            )
        if given:
            save_config(config, path / "config.yaml")
        for change in write_provenance(path, command):
            print(
                f"pes-rl: warning: version changed since the run began: {change}", file=sys.stderr
            )
        return _Session(trainer, path, checkpoint).train(stop)


def _load_config(path: Path) -> Config:
    """A run's configuration; an error says so if another version of pes-rl wrote it."""
    try:
        return load_config(path / "config.yaml")
    except UserError as error:
        made_by = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            made_by = json.loads((path / "versions.json").read_text()).get("pes_rl")
        if made_by in (None, __version__):
            raise
        raise UserError(
            f"run made by an incompatible version: {error} (made by pes-rl {made_by}, "
            f"this is {__version__})"
        ) from error


def _make_trainer(config: Config) -> Trainer:
    from pes_rl.trainer import Trainer  # JAX and MuJoCo: seconds

    return Trainer(config)


class _Session:
    """One process's share of a run."""

    def __init__(self, trainer: Trainer, path: Path, checkpoint: Checkpoint | None):
        self.trainer, self.path, self.config = trainer, path, trainer.config
        meta = checkpoint.meta if checkpoint else {}
        self.best = meta.get("best_return", -math.inf)
        self.last = meta.get("last_return", math.nan)
        self._scored = meta.get("scored_update", -1)
        self._earlier_seconds = meta.get("wall_time_s", 0.0)
        self._start = self._row_time = time.perf_counter()
        self._paused, self._before = 0.0, trainer.env_steps
        self._resumed_update = trainer.updates if checkpoint else None

    def train(self, stop: list[int]) -> Run:
        """Update until the budget is used up or ``stop`` holds a signal; save either way."""
        trainer, config = self.trainer, self.config
        label = f"{config.env} {config.estimator}"
        with (
            MetricsWriter(self.path, self._resumed_update, asdict(config)) as metrics,
            Progress(config.num_env_steps, label) as progress,
        ):
            done = trainer.env_steps >= config.num_env_steps
            doing = "nothing left to train" if done else "compiling the update"
            progress.note(f"{self.path}: {doing}")
            while trainer.env_steps < config.num_env_steps and not stop:
                self._update(metrics, progress)
                if self._crossed(config.checkpoint_every):
                    with self._pause():
                        metrics.sync()
                        self._checkpoint()
            metrics.sync()
            self._checkpoint()
            if not stop:
                progress.note(f"{self.path}: best return {self.best:.1f}, last {self.last:.1f}")
        leave_if(stop)
        return Run(self.path, trainer.env_steps, self.last, self.best)

    def _update(self, metrics: MetricsWriter, progress: Progress) -> None:
        trainer, config = self.trainer, self.config
        self._before = trainer.env_steps
        values = trainer.update()
        if self._crossed(config.eval_every) or trainer.env_steps >= config.num_env_steps:
            with self._pause():
                values |= self._evaluate()
        steps, now = trainer.env_steps - self._before, time.perf_counter()
        elapsed = now - self._row_time
        speed = steps / (elapsed - self._paused)
        row = {
            "env_steps": trainer.env_steps,
            "update": trainer.updates,
            "wall_time_s": self._wall_time(),
            **values,
            "train/env_steps_per_second": speed,
            "total/env_steps_per_second": steps / elapsed,
        }
        self._row_time, self._paused = now, 0.0
        metrics.write(row)
        shown = None if math.isnan(self.last) else self.last
        best = None if math.isinf(self.best) else self.best
        progress.update(trainer.env_steps, speed, shown, best)

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        """Time spent here is not training time."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def _evaluate(self) -> dict[str, float]:
        result = self.trainer.evaluate()
        self.last, self._scored = float(result.returns.mean()), self.trainer.updates
        if self.last > self.best:
            self.best = self.last
            self._save_policy("best")
        return {
            "eval/episode_return": self.last,
            "eval/episode_return_std": float(result.returns.std()),
            "eval/episode_length": float(result.lengths.mean()),
            "eval/episodes": len(result.returns),
        }

    def _crossed(self, interval: int) -> bool:
        return self.trainer.env_steps // interval > self._before // interval

    def _wall_time(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._start

    def _checkpoint(self) -> None:
        meta = {
            "env_steps": self.trainer.env_steps,
            "update": self.trainer.updates,
            "wall_time_s": self._wall_time(),
            "best_return": self.best,
            "last_return": self.last,
            "scored_update": self._scored,
        }
        arrays = flatten(self.trainer.state())
        save_checkpoint(self.path, self.trainer.env_steps, arrays, meta)
        self._save_policy("last")

    def _save_policy(self, name: str) -> None:
        trainer, config = self.trainer, self.config
        environment = resolve(config.env, config.engine)
        save_policy(
            self.path / "policy" / name,
            trainer.policy,
            trainer.theta,
            trainer.normalizer if config.normalize_observations else None,
            trainer.action,
            {
                "name": environment.name,
                "gymnasium_id": environment.gymnasium_id,
                "engine": config.engine,
                "horizon": environment.horizon or config.horizon,
            },
            {
                "env_steps": trainer.env_steps,
                "episode_return": self.last if self._scored == trainer.updates else None,
            },
            trainer.observation_shape,
            trainer.action_shape,
        )
