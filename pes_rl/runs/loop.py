"""One process's share of a run: update, evaluate, save, and stop when asked to.

On several processes the first one does all of it and the others follow: they make the same updates
and take part in gathering what is saved, but never touch the run folder.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pes_rl.config import Config
from pes_rl.envs.registry import resolve
from pes_rl.runs.progress import Progress
from pes_rl.storage.checkpoint import Checkpoint, flatten, save_checkpoint
from pes_rl.storage.metrics import MetricsWriter
from pes_rl.storage.policy import save_policy
from pes_rl.training.processes import Processes

if TYPE_CHECKING:
    import numpy as np

    from pes_rl.policies import Normalizer, Policy
    from pes_rl.policies.action import ActionSpec
    from pes_rl.training.host import Evaluation


class AnyTrainer(Protocol):
    """What a run needs of a trainer, on whatever engine.

    Attributes:
      config: what was asked for.
      policy: the policy's description.
      action: the action space.
      observation_shape: shape of the environment's observations, None if they are flat.
      action_shape: likewise.
      exact_resume: whether a restored run continues bit for bit.
      num_shares: in how many parts the pairs are, on devices or in processes; sums over them differ
        in their last bits if that does.
      env_steps: live member steps consumed so far.
      updates: updates made so far.
    """

    config: Config
    policy: Policy
    action: ActionSpec
    observation_shape: Any
    action_shape: Any
    exact_resume: bool
    num_shares: int
    env_steps: int
    updates: int

    @property
    def theta(self) -> np.ndarray:
        """Current parameters [P]."""
        ...

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the observations so far."""
        ...

    def compile(self, note: Callable[[str], None]) -> Any:
        """Make ready to `advance`; ``note`` is told what takes the time."""
        ...

    def advance(self) -> list[dict[str, Any]]:
        """Make some updates, a fixed number throughout a run: a metrics row each."""
        ...

    def evaluate(self) -> Evaluation:
        """Score the unperturbed policy."""
        ...

    def state(self) -> Any:
        """All that the next update depends on; every process must call it."""
        ...

    def restore(self, state: Any) -> None:
        """Continue from what `state` returned."""
        ...


def crossed(trainer: AnyTrainer, before: int, interval: int) -> bool:
    """Whether a multiple of ``interval`` env steps was passed since ``before``."""
    return trainer.env_steps // interval > before // interval


def follow(trainer: AnyTrainer, processes: Processes, stop: list[int], resumed: bool) -> None:
    """What `Session.train` is on the processes other than the first."""
    config = trainer.config
    saved = trainer.updates if resumed else None

    def save() -> None:
        nonlocal saved
        if trainer.updates != saved:
            trainer.state()
            processes.wait()
            saved = trainer.updates

    save()
    if trainer.env_steps < config.num_env_steps:
        trainer.compile(lambda text: None)
        processes.wait()
    while trainer.env_steps < config.num_env_steps and not processes.agreed(stop):
        before = trainer.env_steps
        trainer.advance()
        if _scores(trainer, before):
            processes.wait()
        if crossed(trainer, before, config.checkpoint_every):
            save()
    save()


def _scores(trainer: AnyTrainer, before: int) -> bool:
    """Whether the policy is evaluated now."""
    config = trainer.config
    over = trainer.env_steps >= config.num_env_steps
    return over or crossed(trainer, before, config.eval_every)


class Session:
    """The first process's share of a run, which is all of it where there is just one."""

    def __init__(
        self,
        trainer: AnyTrainer,
        path: Path,
        checkpoint: Checkpoint | None,
        processes: Processes,
    ):
        self.trainer, self.path, self.config = trainer, path, trainer.config
        self._processes = processes
        meta = checkpoint.meta if checkpoint else {}
        self.best = meta.get("best_return", -math.inf)
        self.last = meta.get("last_return", math.nan)
        self._scored = meta.get("scored_update", -1)
        self._earlier_seconds = meta.get("wall_time_s", 0.0)
        self._start = self._row_time = time.perf_counter()
        self._paused, self._before = 0.0, trainer.env_steps
        self._resumed_update = self._saved_update = trainer.updates if checkpoint else None

    def train(self, stop: list[int]) -> None:
        """Update until the budget is used up or ``stop`` holds a signal; save either way."""
        trainer, config, processes = self.trainer, self.config, self._processes
        label = f"{config.env} {config.estimator}"
        with (
            MetricsWriter(self.path, self._resumed_update, asdict(config)) as metrics,
            Progress(config.num_env_steps, label) as progress,
        ):
            self._checkpoint()  # from the first moment on there is something to resume
            self._compile(progress)
            while trainer.env_steps < config.num_env_steps and not processes.agreed(stop):
                self._advance(metrics, progress)
                if crossed(trainer, self._before, config.checkpoint_every):
                    with self._pause():
                        metrics.sync()
                        self._checkpoint()
            metrics.sync()
            self._checkpoint()
            if not stop:
                progress.note(f"{self.path}: best return {self.best:.1f}, last {self.last:.1f}")

    def _compile(self, progress: Progress) -> None:
        def note(text: str) -> None:
            progress.note(f"{self.path}: {text}")

        if self.trainer.env_steps >= self.config.num_env_steps:
            note("nothing left to train")
            return
        with self._pause():
            self.trainer.compile(note)
            self._processes.wait()

    def _advance(self, metrics: MetricsWriter, progress: Progress) -> None:
        trainer = self.trainer
        self._before = trainer.env_steps
        rows = trainer.advance()
        if _scores(trainer, self._before):
            with self._pause():
                rows[-1] |= self._evaluate()
                self._processes.wait()
        steps, now = trainer.env_steps - self._before, time.perf_counter()
        elapsed = now - self._row_time
        # The updates of one call become known together, so they share its time and its speeds.
        speed = steps / (elapsed - self._paused)
        speeds = {
            "train/env_steps_per_second": speed,
            "total/env_steps_per_second": steps / elapsed,
        }
        self._row_time, self._paused = now, 0.0
        for row in rows:
            head = {key: row[key] for key in ("env_steps", "update")}
            metrics.write(head | {"wall_time_s": self._wall_time()} | row | speeds)
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

    def _wall_time(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._start

    def _checkpoint(self) -> None:
        """Save the run, unless it is saved as it is, and its present policy."""
        if self.trainer.updates != self._saved_update:
            arrays = flatten(self.trainer.state())
            save_checkpoint(self.path, self.trainer.env_steps, arrays, self._meta())
            self._saved_update = self.trainer.updates
            self._processes.wait()
        self._save_policy("last")

    def _meta(self) -> dict[str, Any]:
        return {
            "env_steps": self.trainer.env_steps,
            "update": self.trainer.updates,
            "wall_time_s": self._wall_time(),
            "best_return": self.best,
            "last_return": self.last,
            "scored_update": self._scored,
            "num_shares": self.trainer.num_shares,
        }

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
                "backend": config.backend,
                "horizon": environment.horizon or config.horizon,
            },
            {
                "env_steps": trainer.env_steps,
                "episode_return": self.last if self._scored == trainer.updates else None,
            },
            trainer.observation_shape,
            trainer.action_shape,
        )
