"""One process of a comparison: ``python -m pes_rl.comparison.worker``, told what to do on stdin.

The first line is the task as JSON. While the task is done, the line ``stop`` asks for a clean end,
and the end of the input means that the comparison is gone: then this process goes too, at once, as
if it had been killed with it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pes_rl.config import FREE, Config
from pes_rl.console import say
from pes_rl.errors import UserError
from pes_rl.storage.files import plain, write_text_atomic

_WARM_UP_UPDATES, _LEAST_UPDATES = 2, 5


def main() -> int:
    """Do one task; the exit code is that of ``pes-rl``."""
    task = json.loads(_read_line())
    threading.Thread(target=_listen, daemon=True).start()
    config = Config(**task["config"] | {"hidden_sizes": tuple(task["config"]["hidden_sizes"])})
    try:
        result = _train(config, task) if task["kind"] == "train" else _time(config, task)
    except UserError as error:
        say(str(error))
        return 2
    write_text_atomic(Path(task["result"]), json.dumps(plain(result), indent=2) + "\n")
    return 0


def _listen() -> None:
    while line := _read_line():
        if line == b"stop\n":
            os.kill(os.getpid(), signal.SIGTERM)  # a run saves itself on it
    os._exit(1)


def _read_line() -> bytes:
    """The next line of stdin, unbuffered: a thread that waits in sys.stdin would hold its lock."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _train(config: Config, task: dict[str, Any]) -> dict[str, Any]:
    """Train or continue a run unless it is finished, then score its selected policy."""
    run = Path(task["run"])
    env_steps = _train_run(config, run, Path(task["result"]), task["command"])
    _require_sound(run)
    from pes_rl.evaluation import evaluate
    from pes_rl.runs.run import make_trainer
    from pes_rl.runtime import training_math

    with training_math():
        initial = make_trainer(config).evaluate().mean
        score = evaluate(run, task["episodes"], task["seed"])
        del score["per_episode"]  # whose mean and spread are all that a comparison reads
    return {"env_steps": env_steps, "initial_return": initial, "score": score}


def _train_run(config: Config, run: Path, scored: Path, command: str) -> int:
    """The env steps that the run has consumed; a finished one is left as it is."""
    from pes_rl.runs.run import resume, train_from_config
    from pes_rl.storage.checkpoint import has_checkpoint, load_latest
    from pes_rl.storage.run_folder import lock_run

    if run.is_dir() and not has_checkpoint(run):
        if scored.is_file():
            raise UserError(f"{run} has lost its checkpoints; put them back, or delete that folder")
        with lock_run(run):  # not while somebody trains it
            shutil.rmtree(run)  # killed before it had saved anything
    if not run.is_dir():
        scored.unlink(missing_ok=True)  # of a run that has been deleted
        return train_from_config(config, run, command).env_steps
    trained = load_latest(run).meta["env_steps"]
    if trained >= config.num_env_steps:
        return trained
    changes = {name: getattr(config, name) for name in FREE}
    return resume(run, command=command, **changes).env_steps


def _require_sound(run: Path) -> None:
    """Raise UserError if a run that has finished has nothing that could be compared."""
    from pes_rl.runs.health import Health
    from pes_rl.storage.checkpoint import load_latest

    meta = load_latest(run).meta
    problem = Health.of(meta).failure(meta["update"], meta["best_return"])
    if problem is None and meta["best_return"] == -math.inf:
        problem = "in every evaluation the simulation of an episode broke down"
    if problem is not None:
        raise UserError(f"{run}: {problem}")


def _time(config: Config, task: dict[str, Any]) -> dict[str, Any]:
    """Speed of training alone, with every core, once everything has been compiled."""
    from pes_rl.envs.make import available_threads
    from pes_rl.runs.run import make_trainer
    from pes_rl.runtime import training_math

    with training_math():
        trainer = make_trainer(config)
        while trainer.updates < _WARM_UP_UPDATES:
            trainer.advance()
        steps, updates, start = trainer.env_steps, trainer.updates, time.perf_counter()
        while (
            trainer.env_steps - steps < task["env_steps"]
            or trainer.updates - updates < _LEAST_UPDATES
        ):
            trainer.advance()
        seconds = time.perf_counter() - start
    return {
        "env_steps_per_second": (trainer.env_steps - steps) / seconds,
        "updates_per_second": (trainer.updates - updates) / seconds,
        "env_steps": trainer.env_steps - steps,
        "updates": trainer.updates - updates,
        "seconds": seconds,
        "threads": available_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "of": task["of"],
    }


if __name__ == "__main__":
    sys.exit(main())
