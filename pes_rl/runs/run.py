"""Training runs on disk: create or resume a run folder, train, save, and stop cleanly."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from pes_rl.config import Config, parse_changes, save_config
from pes_rl.console import say
from pes_rl.errors import UserError
from pes_rl.runs.beginning import begin_from
from pes_rl.runs.goal import goal_return
from pes_rl.runs.loop import MakeTrainer, Silent, train
from pes_rl.runs.opening import config_from, note_opened, open_run
from pes_rl.runs.recorder import Callback, Recorder
from pes_rl.runs.signals import leave_if, stop_signals
from pes_rl.runs.tracking import require_tracker, tracking
from pes_rl.runtime import training_math
from pes_rl.storage.checkpoint import Checkpoint, unflatten
from pes_rl.storage.files import Place, as_path
from pes_rl.storage.metrics import read_metrics
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import (
    CONFIG,
    clear_leftovers,
    create_named_run,
    create_run,
    is_run,
    lock_run,
    require_run,
    write_properties,
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


class Hooks(NamedTuple):
    """What goes on beside a run, and is no part of its results.

    Attributes:
      callback: called with every metrics row in the first process; the run stops, saved and to be
        resumed, once it returns True.
      stop_at: a return, or ``"solved"`` for the task's threshold: the run stops likewise once an
        evaluation reaches it and another one, of other episodes, does too.
      track: the experiment tracker that is sent what TensorBoard is.
    """

    callback: Callback | None = None
    stop_at: float | str | None = None
    track: str | None = None


def train_from_config(
    config: Config,
    run_dir: Place | None,
    command: str,
    processes: Processes = ALONE,
    callback: Callback | None = None,
    stop_at: Any = None,
    track: str | None = None,
    make: MakeTrainer = make_trainer,
) -> Run:
    """Start a new run in ``run_dir`` (default: a new folder below ``runs/``) and train it.

    With several ``processes`` all of them call it; the first one has the folder.

    Args:
      config: what to train.
      run_dir: a folder that is new or empty.
      command: how the run was asked for.
      processes: those of this run.
      callback: see `Hooks`, as for ``stop_at`` and ``track``.
      stop_at: see there.
      track: see there.
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
    hooks = _checked(Hooks(callback, stop_at, track), config, processes)
    with stop_signals() as stop, training_math(), contextlib.ExitStack() as held:
        trainer = make(config, processes)
        held.callback(trainer.close)
        source = begin_from(trainer, processes) if config.init_from else None
        if processes.agreed(stop):
            leave_if(stop)

        def create() -> str:
            named = config.env, config.estimator, config.seed
            path = create_run(given) if given else create_named_run(runs, *named)
            held.enter_context(lock_run(path))
            if is_run(path):
                raise UserError(f"the run folder {path} was taken by another run; name another")
            clear_leftovers(path)
            save_config(config, path / CONFIG)
            write_provenance(path, command)
            properties = {"exact_resume": trainer.exact_resume}
            write_properties(path, **properties | ({"init_from": source} if source else {}))
            return str(path)

        path = Path(processes.decide(create))
        if processes.index > 0:
            return _follow(trainer, path, processes, stop, None, hooks)
        if source:
            say(f"{path}: begins with {source['path']}, whose return is {source['episode_return']}")
        return _train(trainer, path, None, processes, stop, hooks)


def resume(
    run: Place,
    *,
    command: str = "",
    processes: Processes = ALONE,
    callback: Callback | None = None,
    stop_at: Any = None,
    track: str | None = None,
    make: MakeTrainer = make_trainer,
    **changes: Any,
) -> Run:
    """Continue a run from its newest intact checkpoint, bit for bit where the engine allows.

    One that was killed before its first checkpoint starts from its configuration. ``changes`` are
    new values of the fields in `pes_rl.config.CHANGEABLE`, from here on.

    Raises:
      UserError: ``run`` is no run, is in use, has lost its checkpoints, was made by an incompatible
        version, or its configuration was edited; a change is none that can be made.
      UserError, KeyboardInterrupt, SystemExit, Exception: as in `train_from_config`.
    """
    given = parse_changes(changes)
    found: list[Checkpoint | None] = []  # by the first process
    with stop_signals() as stop, training_math(), contextlib.ExitStack() as held:

        def find() -> dict[str, Any]:
            path = require_run(as_path(run)).absolute()
            held.enter_context(lock_run(path))
            config, checkpoint = open_run(path, given)
            found.append(checkpoint)
            return {"path": str(path), "config": asdict(config), "saved": checkpoint is not None}

        told = processes.decide(find)
        path, config, saved = Path(told["path"]), config_from(told["config"]), told["saved"]
        if "num_threads" in given:  # each process has a machine of its own
            config = replace(config, num_threads=given["num_threads"])
        hooks = _checked(Hooks(callback, stop_at, track), config, processes)
        trainer = make(config, processes)
        held.callback(trainer.close)
        checkpoint = found[0] if found else None
        if saved:
            arrays = processes.share(checkpoint.arrays if checkpoint else None)
            trainer.restore(unflatten(trainer.state(), arrays))
        elif config.init_from:
            begin_from(trainer, processes, path)
        if processes.index > 0:
            last = trainer.updates if saved else None
            return _follow(trainer, path, processes, stop, last, hooks)
        note_opened(path, config if given else None, command, trainer, checkpoint)
        return _train(trainer, path, checkpoint, processes, stop, hooks)


def _checked(hooks: Hooks, config: Config, processes: Processes) -> Hooks:
    """``hooks`` with ``stop_at`` as a return; UserError if that or the tracker is none."""
    processes.decide(lambda: require_tracker(hooks.track))
    return hooks._replace(stop_at=goal_return(config, hooks.stop_at))


def _train(
    trainer: Trainer,
    path: Path,
    checkpoint: Checkpoint | None,
    processes: Processes,
    stop: list[int],
    hooks: Hooks,
) -> Run:
    """The first process's share, which is all of it where there is just one."""
    with contextlib.ExitStack() as opened:
        log = opened.enter_context(tracking(hooks.track, path, trainer.config))
        goal: Any = hooks.stop_at
        recorder = Recorder(trainer, path, processes, checkpoint, hooks.callback, goal, log)
        opened.enter_context(recorder)
        recorder.introduce()
        train(trainer, recorder, processes, stop, goal)
    recorder.conclude(stopped=bool(stop))  # below the bar
    leave_if(stop)
    processes.decide(recorder.check)
    return Run(path, trainer.env_steps, recorder.last, recorder.best)


def _follow(
    trainer: Trainer,
    path: Path,
    processes: Processes,
    stop: list[int],
    saved: int | None,
    hooks: Hooks,
) -> Run:
    """Another process's share; scores are known to the first one alone."""
    goal: Any = hooks.stop_at
    train(trainer, Silent(trainer, processes, saved), processes, stop, goal)
    leave_if(stop)
    processes.decide(lambda: None)  # the first one may find that it has come to nothing
    return Run(path, trainer.env_steps, math.nan, -math.inf)
