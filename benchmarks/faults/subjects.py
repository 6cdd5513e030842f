"""Tiny runs to break, and children that begin with their compiled trainers.

A child is a fork of this process, so it neither imports nor compiles anything and makes a whole run
in a tenth of a second. JAX warns of forks because of its threads; with its dispatch in the calling
thread and programs this small no child waits for one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax

from pes_rl import cli
from pes_rl.config import Config, build_config, load_config, save_config
from pes_rl.errors import UserError
from pes_rl.runtime import training_math
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.metrics import read_metrics
from pes_rl.storage.policy import load_policy
from pes_rl.storage.run_folder import is_run, versions
from pes_rl.training import backend
from pes_rl.training.make import make_trainer

_DIE_WITH_PARENT = 1
TIMES = ("wall_time_s", "train/env_steps_per_second", "total/env_steps_per_second")
_TINY = {
    "policy": "linear",
    "seed": 7,
    "num_pairs": 2,
    "horizon": 20,
    "segment_length": 5,
    "num_env_steps": 200,
    "eval_every": 80,
    "eval_episodes": 2,
    "checkpoint_every": 60,
    "log_every": 1,
    "num_threads": 1,
    "perturb_std": 0.1,
    "learning_rate": 0.01,
}
FIELDS: dict[str, dict[str, Any]] = {
    "mujoco": {"env": "InvertedPendulum"},
    "gymnasium": {"env": "CartPole-v1", "estimator": "pes", "horizon": 40, "num_env_steps": 300},
    "brax": {"env": "brax/inverted_pendulum", "engine": "brax"},
    "swimmer": {"env": "Swimmer", "estimator": "gpes", "optimizer": "adam"},
}
_IMPORTED = (
    "filelock",
    "safetensors.numpy",
    "scipy.linalg",
    "tensorboardX.event_file_writer",
    "tensorboardX.summary",
    "yaml",
    "pes_rl.runs.run",
    "pes_rl.training.device",
    "pes_rl.training.host",
)


class Ended(NamedTuple):
    """How a child ended: an exit code (minus a signal's number), and what it said on stderr.

    ``code`` is None for a child that had to be killed, since it did not end.
    """

    code: int | None
    said: str

    @property
    def refused(self) -> bool:
        """Whether it was one line and exit 2."""
        lines = [x for x in self.said.splitlines() if x.startswith("pes-rl: error: ")]
        return self.code == 2 and len(lines) == 1 and "Traceback" not in self.said


def prepare() -> None:
    """Import all that children would, and settle how JAX works, before it begins to."""
    warnings.filterwarnings("ignore", message=r".*os\.fork\(\).*")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    for name in _IMPORTED:
        importlib.import_module(name)
    versions()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def workplace() -> Path:
    """A new folder for runs, in memory where there is such a place: no case needs a disk."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    return Path(tempfile.mkdtemp(prefix="pes-rl-faults-", dir=memory))


def fork(work: Callable[[], int], seconds: float = 30) -> Ended:
    """Do ``work``, which returns an exit code, in a child."""
    with tempfile.TemporaryFile() as log:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
                os.dup2(log.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDWR), 1)
                sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
                backend._forked = False
                code = work()
            except SystemExit as done:
                code = int(done.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        fd = os.pidfd_open(pid)
        over = bool(select.select([fd], [], [], seconds)[0])
        os.close(fd)
        if not over:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        log.seek(0)
        return Ended(status if over else None, log.read().decode(errors="replace"))


_made: dict[tuple, Subject] = {}


def subject(name: str, root: Path, **fields: Any) -> Subject:
    """A tiny run by its name in ``FIELDS``; several classes of faults share it."""
    key = (name, root, *sorted(fields.items()))
    if key not in _made:
        _made[key] = Subject(name, root, **fields)
    return _made[key]


class Subject:
    """A tiny run, whose children train it by ``pes-rl train``."""

    def __init__(self, name: str, root: Path, **fields: Any):
        self.name, self.root = name, root
        self.config: Config = build_config(_TINY | FIELDS[name] | fields)
        self.file = root / f"{name}-{self.config.seed}.yaml"
        save_config(self.config, self.file)
        with training_math():
            self.trainer: Any = make_trainer(self.config)
            self.trainer.compile(lambda line: None)
            self.trainer.evaluate()
            # A child that had to compile would wait for threads that stayed behind.
            self.trainer.restore(self.trainer.state())
        gc.freeze()

    def command(self, run: Path) -> list[str]:
        """What a job that is queued again does (docs/scaling.md)."""
        if is_run(run):
            return ["train", "--resume", str(run)]
        return ["train", "--config", str(self.file), "--run-dir", str(run)]

    def child(
        self, run: Path, before: Callable[[], Any] | None = None, *more: str, seconds: float = 30
    ) -> Ended:
        """Start or continue the run in a child, which first calls ``before``."""

        def work() -> int:
            self.inherit()
            command = [*self.command(run), *more]
            if before is not None:
                before()
            return cli.main(command)

        return fork(work, seconds)

    def inherit(self) -> None:
        """In a child: the next trainer is the one that was made before the fork."""

        def made(config: Config, *_: Any, **__: Any) -> Any:
            self.trainer.config = config
            return self.trainer

        for module, kind in (("host", "HostTrainer"), ("device", "DeviceTrainer")):
            setattr(sys.modules[f"pes_rl.training.{module}"], kind, made)

    @cached_property
    def whole(self) -> Path:
        """The run that nothing has disturbed."""
        run = self.root / f"{self.name}-{self.config.seed}-whole"
        ended = self.child(run)
        assert ended.code == 0, ended
        return run

    @cached_property
    def results(self) -> dict[str, Any]:
        return results(self.whole)

    def half(self, updates: int = 8) -> Path:
        """A run that was killed after so many updates."""
        run = self.root / f"{self.name}-{self.config.seed}-half{updates}"
        if not run.exists():

            def before() -> None:
                def advance() -> Any:
                    if self.trainer.updates >= updates:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return plain()

                plain, self.trainer.advance = self.trainer.advance, advance

            assert self.child(run, before).code == -signal.SIGKILL
        return run

    def fresh(self, source: Path | None = None, name: str = "run") -> Path:
        """A place for a run, or a copy of one there."""
        run = self.root / f"{self.name}-{name}"
        shutil.rmtree(run, ignore_errors=True)
        if source is not None:
            shutil.copytree(source, run, symlinks=True)
        return run


def results(run: Path) -> dict[str, Any]:
    """What a run has found out, each part by bits, or as the error that reading it ends in."""
    return {
        "config": _or_error(lambda: load_config(run / "config.yaml")),
        "metrics": _or_error(lambda: _rows(run)),
        "checkpoint": _or_error(lambda: _arrays(run)),
        "best": _or_error(lambda: _policy(run / "policy/best")),
        "last": _or_error(lambda: _policy(run / "policy/last")),
    }


def _or_error(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UserError as error:
        return error


def _rows(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(run)]


def _arrays(run: Path) -> dict[str, tuple[str, bytes]]:
    arrays = load_latest(run).arrays
    found = {name: (f"{a.dtype}{a.shape}", a.tobytes()) for name, a in sorted(arrays.items())}
    # Pickles of equal environments may have other bytes; rows tell whether they went on alike.
    return {name: array for name, array in found.items() if not name.endswith("opaque")}


def _policy(folder: Path) -> tuple[Any, ...]:
    policy = load_policy(folder)
    norm = policy.normalizer
    numbers = (norm.total, norm.mean.tobytes(), norm.m2.tobytes()) if norm else ()
    scores = {k: v for k, v in policy.scores.items()}
    return policy.theta.tobytes(), *numbers, scores


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The parts of `results` in which two runs differ."""
    return [name for name in one if one[name] != other[name]]


def saved_steps(run: Path) -> int:
    """Env steps of the newest intact checkpoint, -1 where there is none."""
    with contextlib.suppress(UserError):
        return int(load_latest(run).meta["env_steps"])
    return -1


def left_over(run: Path) -> list[str]:
    """What should have been tidied up."""
    return [str(p.relative_to(run)) for p in run.rglob(".*") if p.name != ".lock"]
