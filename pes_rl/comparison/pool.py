"""Tasks in processes of their own, some at a time, that stop with this one however it ends.

Each worker is a session of its own, so that Ctrl-C reaches this process alone, and holds a pipe
from it: a line on the pipe asks it to stop, and the pipe's end, should this process be killed,
makes it go at once (see `pes_rl.comparison.worker`). Unlike multiprocessing's own start method,
this needs no ``if __name__ == "__main__"`` in the user's script.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMAND = (sys.executable, "-P", "-m", "pes_rl.comparison.worker")
_POLL_S = 0.1
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, eq=False)
class Task:
    """One thing for a worker to do.

    Attributes:
      label: how people are told of it.
      payload: what the worker is told, as JSON.
      log: file that its standard error is appended to.
      environment: variables to set for it.
    """

    label: str
    payload: Mapping[str, Any]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A task that did not succeed, and the last words of its worker."""

    task: Task
    reason: str


def one_thread() -> dict[str, str]:
    """Environment variables that keep numerical libraries from starting threads."""
    return dict.fromkeys(_ONE_THREAD, "1")


def run_tasks(
    tasks: Sequence[Task],
    workers: int,
    stop: Sequence[int],
    tick: Callable[[Sequence[Task]], None],
    done: Callable[[Task], None],
) -> list[Failure]:
    """Do all tasks, at most ``workers`` at a time; those that failed do not hold up the others.

    Args:
      tasks: in the order to start them in.
      workers: processes at the same time.
      stop: as soon as it holds anything, no task is started and those at work are asked to stop.
      tick: called several times a second with the tasks at work.
      done: called with each task that succeeded.
    """
    waiting, failures = list(tasks), []
    running: dict[Task, subprocess.Popen[bytes]] = {}
    asked = False
    try:
        while running or (waiting and not stop):
            while waiting and len(running) < workers and not stop:
                task = waiting.pop(0)
                running[task] = _start(task)
            if stop and not asked:
                asked = True
                for process in running.values():
                    _tell(process, b"stop\n")
            for task, code in [(t, p.poll()) for t, p in running.items()]:
                if code is not None:
                    _close(running.pop(task))
                    if code == 0:
                        done(task)
                    elif not stop:
                        failures.append(Failure(task, _reason(task, code)))
            tick(list(running))
            time.sleep(_POLL_S)
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            _close(process)
    return failures


def _start(task: Task) -> subprocess.Popen[bytes]:
    # What this process can import, the worker can.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, **task.environment}
    with task.log.open("ab") as log:
        process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    _tell(process, json.dumps(task.payload).encode() + b"\n")
    return process


def _tell(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended by itself, and its exit code says how
        process.stdin.write(line)
        process.stdin.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _reason(task: Task, code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    with contextlib.suppress(OSError):
        lines = task.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return f"exit code {code}"
