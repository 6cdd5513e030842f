"""Kill the start of a run at its file operations, and see that it gets out of it by itself.

python -m tests.tools.kill_driver FOLDER STEP    at every STEP-th; prints how many there are
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import signal
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pes_rl.config import build_config, load_config
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.linear import Linear
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import array_of
from pes_rl.runs.run import resume, train_from_config
from pes_rl.runtime import training_math
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import is_run, versions

# Before there is anything to count: what a child imports is no operation of a run.
for name in ("filelock", "safetensors.numpy", "tensorboardX.writer", "yaml"):
    importlib.import_module(name)

CONFIG = build_config({"env": "InvertedPendulum", "policy": "linear", "seed": 7})


class Beginner:
    """A trainer that leaves as soon as the run would begin to train."""

    def __init__(self, config: Any, processes: Any):
        self.config, self.policy = config, Linear(4, 1)
        self.theta, self.normalizer = np.zeros(4), Normalizer.empty(4)
        self.action = ActionSpec("box", 1, (-1.0,), (1.0,))
        self.observation, self.action_shape = array_of((4,)), (1,)
        self.exact_resume, self.num_shares, self.env_steps, self.updates = True, 1, 0, 0

    def state(self) -> Any:
        return {"theta": self.theta}

    def restore(self, state: Any) -> None:
        """There is nothing but where it began."""

    def close(self) -> None:
        """There is nothing to close."""

    def compile(self, note: Any) -> None:
        os._exit(0)


def arm(root: Path, fatal: int, report: int) -> None:
    """Die before or after a file operation below ``root``: 0 before the first, 1 after it, ..."""
    seen = SimpleNamespace(count=0)

    def tick() -> None:
        os.write(report, b".")
        if seen.count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.count += 1

    def hook(module: Any, name: str) -> None:
        real = getattr(module, name)

        def hooked(path: Any, *arguments: Any, **options: Any) -> Any:
            concerns = isinstance(path, int) or str(path).startswith(str(root))
            if concerns:
                tick()
            result = real(path, *arguments, **options)
            if concerns:
                tick()
            return result

        setattr(module, name, hooked)

    for name in ("open", "mkdir", "replace", "fsync", "unlink", "rmdir"):
        hook(os, name)
    hook(io, "open")
    hook(builtins, "open")


def start(run: Path) -> None:
    """What a job that is queued again does (docs/scaling.md)."""
    if is_run(run):
        resume(run, command="again", make=Beginner)  # pyright: ignore[reportArgumentType]
    else:
        train_from_config(CONFIG, run, "first", make=Beginner)  # pyright: ignore[reportArgumentType]


def child(run: Path, fatal: int) -> tuple[int, int]:
    """Start the run in a process of its own: how that ended, and its file operations."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            arm(run, fatal, writer)
            start(run)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        ticks = len(pipe.read())
    return os.waitstatus_to_exitcode(os.wait()[1]), ticks


def main(root: Path, step: int) -> None:
    versions()
    with training_math():
        pass
    code, total = child(root / "whole", -1)
    assert code == 0, code
    for fatal in range(0, total, step):
        run = root / str(fatal)
        assert child(run, fatal)[0] == -signal.SIGKILL
        assert child(run, fatal // 2)[0] in (0, -signal.SIGKILL)  # and once more
        code, _ = child(run, -1)
        assert code == 0, (fatal, code)
        assert load_latest(run).meta["config"]["seed"] == load_config(run / "config.yaml").seed == 7
        load_policy(run / "policy" / "last")
        left = [p for p in run.rglob(".*") if p.name != ".lock"]
        assert not left, (fatal, left)
    print(total)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
