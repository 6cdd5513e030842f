"""Training runs on disk: create or resume a run folder, train, save, and stop cleanly."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from pes_rl.config import Config, load_config, save_config, validate
from pes_rl.config.values import count
from pes_rl.console import warn
from pes_rl.errors import UserError
from pes_rl.runs.loop import MakeTrainer, Silent, train
from pes_rl.runs.recorder import Callback, Recorder
from pes_rl.runs.signals import leave_if, stop_signals
from pes_rl.runtime import training_math
from pes_rl.storage.checkpoint import Checkpoint, load_latest, unflatten
from pes_rl.storage.files import Place, as_path
from pes_rl.storage.metrics import read_metrics
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import (
    CONFIG,
    create_named_run,
    create_run,
    is_run,
    lock_run,
    read_versions,
    require_run,
    versions,
    write_exact_resume,
    write_provenance,
)
from pes_rl.storage.saved_policy import SavedPolicy
from pes_rl.training.make import make_trainer
from pes_rl.training.processes import ALONE, Processes
from pes_rl.training.protocol import Trainer


class Run(NamedTuple):
    """A run that has stopped: its folder, env steps consumed, last and best evaluation.

    It goes wherever the path of a run does.
    """

    path: Path
    env_steps: int
    last_return: float
    best_return: float

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def policy(self) -> SavedPolicy:
        """The best policy evaluated so far (the last one if none was)."""
        return load_policy(self.path)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.jsonl``."""
        return read_metrics(self.path)


def train_from_config(
    config: Config,
    run_dir: Place | None,
    command: str,
    processes: Processes = ALONE,
    callback: Callback | None = None,
    make: MakeTrainer = make_trainer,
) -> Run:
    """Start a new run in ``run_dir`` (default: a new folder below ``runs/``) and train it.

    With several ``processes`` all of them call it; the first one has the folder.

    Args:
      config: what to train.
      run_dir: a folder that is new or empty.
      command: how the run was asked for.
      processes: those of this run.
      callback: called with every metrics row in the first process; the run stops, saved and to be
        resumed, once it returns True.
      make: makes the trainer.

    Raises:
      UserError: the folder is not empty or cannot be written; nothing has been created then. Or
        simulations broke down until nothing was left to learn from; what exists has been saved.
      KeyboardInterrupt, SystemExit(143 or 129): SIGINT, SIGTERM or SIGHUP arrived; what exists has
        been saved.
      Exception: whatever the environment or ``callback`` raises; what exists has been saved.
    """
    # Now, for an environment may change the working directory.
    runs, given = Path("runs").absolute(), None if run_dir is None else as_path(run_dir).absolute()
    with stop_signals() as stop, training_math(), contextlib.ExitStack() as held:
        trainer = make(config, processes)
        held.callback(trainer.close)
        if processes.agreed(stop):
            leave_if(stop)

        def create() -> str:
            named = config.env, config.estimator, config.seed
            path = create_run(given) if given else create_named_run(runs, *named)
            held.enter_context(lock_run(path))
            if is_run(path):
                raise UserError(f"the run folder {path} was taken by another run; name another")
            save_config(config, path / CONFIG)
            write_provenance(path, command)
            write_exact_resume(path, trainer.exact_resume)
            return str(path)

        path = Path(processes.decide(create))
        if processes.index > 0:
            return _follow(trainer, path, processes, stop, None)
        return _train(trainer, path, None, processes, stop, callback)


def resume(
    run: Place,
    num_env_steps: int | None = None,
    num_threads: int | None = None,
    checkpoint_every: int | None = None,
    command: str = "",
    processes: Processes = ALONE,
    callback: Callback | None = None,
    make: MakeTrainer = make_trainer,
) -> Run:
    """Continue a run from its newest intact checkpoint, bit for bit where the engine allows.

    Raises:
      UserError: ``run`` is no run, is in use, has no intact checkpoint, or was made by an
        incompatible version.
      UserError, KeyboardInterrupt, SystemExit, Exception: as in `train_from_config`.
    """
    changes = {
        "num_env_steps": num_env_steps,
        "num_threads": num_threads,
        "checkpoint_every": checkpoint_every,
    }
    given = {name: count(name, v, least=1) for name, v in changes.items() if v is not None}
    found: list[Checkpoint] = []
    with stop_signals() as stop, training_math(), contextlib.ExitStack() as held:

        def open_run() -> dict[str, Any]:
            path = require_run(as_path(run)).absolute()
            held.enter_context(lock_run(path))
            config = replace(_load_config(path), **given)
            validate(config)
            found.append(_load_checkpoint(path, config, given.get("num_env_steps")))
            return {"path": str(path), "config": asdict(config)}

        opened = processes.decide(open_run)
        path, config = Path(opened["path"]), _config_from(opened["config"])
        trainer = make(config, processes)
        held.callback(trainer.close)
        arrays = processes.share(found[0].arrays if found else None)
        trainer.restore(unflatten(trainer.state(), arrays))
        if found:
            _reopen(path, config if given else None, command, trainer.exact_resume)
            _compare_places(found[0], trainer)
        if processes.index > 0:
            return _follow(trainer, path, processes, stop, trainer.updates)
        return _train(trainer, path, found[0], processes, stop, callback)


def _load_checkpoint(path: Path, config: Config, num_env_steps: int | None) -> Checkpoint:
    checkpoint = load_latest(path)
    if num_env_steps is not None and num_env_steps < checkpoint.meta["env_steps"]:
        raise UserError(
            f"--num-env-steps {config.num_env_steps} is less than the "
            f"{checkpoint.meta['env_steps']} that {path} has trained; give more to extend it"
        )
    for skipped in checkpoint.skipped:
        warn(f"skipped a damaged checkpoint: {skipped}")
    return checkpoint


def _compare_places(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Say so if the pairs are spread otherwise than when the run was saved."""
    saved = checkpoint.meta.get("num_shares", trainer.num_shares)
    if saved != trainer.num_shares:
        warn(
            f"the pairs were in {saved} parts (devices or processes) and are in "
            f"{trainer.num_shares} now; the run continues, but not bit for bit"
        )


def _reopen(path: Path, changed: Config | None, command: str, exact: bool) -> None:
    """Note in the run folder that the run goes on."""
    if not exact:
        warn("this engine cannot restore its environments; every pair starts a new episode")
    if changed is not None:
        save_config(changed, path / CONFIG)
    for change in write_provenance(path, command):
        warn(f"version changed since the run began: {change}")


def _train(
    trainer: Trainer,
    path: Path,
    checkpoint: Checkpoint | None,
    processes: Processes,
    stop: list[int],
    callback: Callback | None,
) -> Run:
    """The first process's share, which is all of it where there is just one."""
    with Recorder(trainer, path, processes, checkpoint, callback) as recorder:
        train(trainer, recorder, processes, stop)
        if not stop:
            recorder.conclude()
    leave_if(stop)
    processes.decide(recorder.check)
    return Run(path, trainer.env_steps, recorder.last, recorder.best)


def _follow(
    trainer: Trainer, path: Path, processes: Processes, stop: list[int], saved: int | None
) -> Run:
    """Another process's share; scores are known to the first one alone."""
    train(trainer, Silent(trainer, processes, saved), processes, stop)
    leave_if(stop)
    processes.decide(lambda: None)  # the first one may find that it has come to nothing
    return Run(path, trainer.env_steps, math.nan, -math.inf)


def _config_from(values: dict[str, Any]) -> Config:
    """A configuration as another process has sent it."""
    return Config(**{**values, "hidden_sizes": tuple(values["hidden_sizes"])})


def _load_config(path: Path) -> Config:
    """A run's configuration; an error says so if another version of pes-rl wrote it."""
    try:
        return load_config(path / CONFIG)
    except UserError as error:
        made_by = read_versions(path).get("pes_rl")
        if made_by in (None, versions()["pes_rl"]):
            raise
        raise UserError(
            f"run made by an incompatible version: {error} (made by pes-rl {made_by}, "
            f"this is {versions()['pes_rl']})"
        ) from error
