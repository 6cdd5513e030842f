"""What the first process of a run leaves behind: metrics, scores, policies, checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pes_rl.config.values import seconds
from pes_rl.errors import UserError
from pes_rl.runs import ends
from pes_rl.runs.health import Health
from pes_rl.runs.progress import Progress
from pes_rl.runs.saving import save_trained
from pes_rl.runs.starts import Start
from pes_rl.storage.checkpoint import Checkpoint, flatten, save_checkpoint
from pes_rl.storage.metrics import EVALUATED, LANES_SCORED, MetricsWriter, Written
from pes_rl.storage.policy import policy_fingerprint, warn_of_other_policy
from pes_rl.storage.run_folder import BEST_POLICY, LAST_POLICY, METRICS
from pes_rl.training.processes import Processes
from pes_rl.training.protocol import Trainer

_OUTLOOK_S = 2.0  # of training, after which its speed is known

Callback = Callable[[dict[str, Any]], Any]


class Recorder:
    """Writes a run's folder and shows its progress.

    A context manager, for its open files; left by an error, it first saves what has been trained.

    Attributes:
      best: highest evaluation so far, -inf before the first sound one.
      last: newest evaluation, NaN before the first, and where an episode broke down.
      finished: whether the run is to stop, by its callback or its goal.
    """

    def __init__(
        self,
        trainer: Trainer,
        path: Path,
        processes: Processes,
        checkpoint: Checkpoint | None = None,
        callback: Callback | None = None,
        goal: float = math.inf,
        log: Callable[[dict[str, Any]], None] = lambda row: None,
    ):
        """A recorder of the run in ``path``.

        Args:
          trainer: what is recorded.
          path: the run folder.
          processes: those that take part in gathering what is saved.
          checkpoint: what the run continues from, None for a new one.
          callback: called with every metrics row; the run stops if it returns True.
          goal: return at which the run stops, once two evaluations of a policy reach it.
          log: is given the rows that are kept too.
        """
        self.trainer, self.path, self.config = trainer, path, trainer.config
        self._processes, self._callback, self.finished = processes, callback, False
        self._goal, self._log = goal, log
        meta = checkpoint.meta if checkpoint else {}
        self.best = meta.get("best_return", -math.inf)
        self.last = meta.get("last_return", math.nan)
        self._attempt = Start(*meta.get("start", ()))
        self._solved: int | None = meta.get("solved_env_steps")
        self._scored = meta.get("scored_update", -1)
        self._seen = meta.get("files", {})
        self._health, self._warned = Health.of(meta), False
        self._lanes = math.nan
        self._earlier_seconds = meta.get("wall_time_s", 0.0)
        self._start = self._row_time = time.perf_counter()
        self._paused, self._row_steps = 0.0, trainer.env_steps
        self._saved_update = trainer.updates if checkpoint else None
        told = meta.get("metrics", [trainer.updates])
        self._written = Written(*told) if checkpoint else None
        self._overdue_s = seconds(self.config.checkpoint_every) or math.inf
        self._saved_time = self._start
        self._begun: tuple[float, int] | None = None

    def __enter__(self) -> Recorder:
        if self._written is not None:
            warn_of_other_policy(self.path / BEST_POLICY, self._seen.get("best"), self._row_steps)
        with contextlib.ExitStack() as files:
            label = f"{self.config.env} {self.config.estimator}"
            self._metrics = files.enter_context(
                MetricsWriter(self.path, self._written, asdict(self.config))
            )
            self._opened = os.stat(self.path / METRICS)
            self._progress = files.enter_context(Progress(self.config.num_env_steps, label))
            self._files = files.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        # Of several processes the others would have to take part, and know nothing of the error.
        if kind is not None and issubclass(kind, Exception) and self._processes.size == 1:
            self.rescue()
        self._files.__exit__(kind, *exception)

    @property
    def overdue(self) -> bool:
        """Whether the time that checkpoints may be apart has passed since the last one."""
        return time.perf_counter() - self._saved_time > self._overdue_s

    @property
    def given_up(self) -> bool:
        """Whether the policy was just scored, and its start has come to nothing."""
        scored = self._scored == self.trainer.updates
        return scored and self._attempt.is_nothing(self.config, self.trainer.env_steps)

    def begin_anew(self) -> int:
        """A new start begins; its number."""
        best, env_steps = self._attempt.best, self.trainer.env_steps
        self._attempt, self._scored = self._attempt.next(env_steps), -1
        self._lanes = math.nan
        self.note(
            f"after {env_steps} env steps no evaluation of start {self._attempt.number} is above "
            f"{best:.6g}, where {self.config.retry_below:g} was asked for: training begins anew"
        )
        return self._attempt.number

    def note(self, text: str) -> None:
        """Say one thing above the bar or in the log."""
        self._progress.note(f"{ends.place(self.path)}: {text}")

    def introduce(self) -> None:
        """Say what is about to be trained."""
        size, done = self.trainer.theta.size, self.trainer.env_steps
        self._progress.note(ends.opening(self.config, size, done, self.path))

    def start(self) -> None:
        """Training begins now: what compiling and the first checkpoint took is not its speed."""
        self._row_time, self._paused = time.perf_counter(), 0.0
        self._begun = self._row_time, self.trainer.env_steps

    def evaluate(self, rows: list[dict[str, Any]]) -> None:
        """Score the policy, keep it if it is the best so far, and add the score to the last row."""
        with self._pause():
            result = self.trainer.evaluate()
            self.last, self._scored = result.mean, self.trainer.updates
            rows[-1] |= {
                EVALUATED: self.last,
                "eval/episode_return_std": result.std,
                "eval/episode_length": float(result.lengths.mean()),
                "eval/episodes": len(result.returns),
                "eval/broken_episodes": result.broken,
            }
            self._attempt = self._attempt.scored(self.last)
            if self.config.retry_after is not None:
                rows[-1]["eval/start"] = self._attempt.number
            self._keep_best()
            threshold = self.config.environment.threshold
            if self._solved is None and threshold is not None and self.last >= threshold:
                self._solved = self.trainer.env_steps
            if self.last >= self._goal:
                rows[-1]["eval/confirmed_return"] = self._confirm(len(result.returns))
        if result.broken and not self._warned:
            self._warned = True
            self.note(
                f"warning: {result.broken} of {len(result.returns)} evaluation episodes broke down "
                f"after {self.trainer.env_steps} env steps; an evaluation with such an episode has "
                "no return and is never the best"
            )

    def _confirm(self, episodes: int) -> float:
        """Mean return of other episodes than the ``episodes`` that have reached the goal."""
        confirmed = self.trainer.evaluate(first=episodes).mean
        reached = confirmed >= self._goal
        self.finished |= reached
        self.note(
            f"the return {self.last:.6g} after {self.trainer.env_steps} env steps reaches "
            f"{self._goal:g}, that of other episodes, {confirmed:.6g}, "
            f"{'does too: the run stops' if reached else 'does not'}"
        )
        return confirmed

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append the rows to the metrics, show where the run is, and tell the callback."""
        steps, now = self.trainer.env_steps - self._row_steps, time.perf_counter()
        elapsed = now - self._row_time
        # The updates of one call become known together, so they share its time and its speeds.
        speed = steps / (elapsed - self._paused)
        speeds = {
            "train/env_steps_per_second": speed,
            "total/env_steps_per_second": steps / elapsed,
        }
        whole = []
        every, before = self.config.log_every, self._row_steps
        for row in rows:
            head = {key: row[key] for key in ("env_steps", "update")}
            whole.append(head | {"wall_time_s": self._wall_time()} | row | speeds)
            scored = EVALUATED in row or LANES_SCORED in row
            if row["env_steps"] // every > before // every or scored:
                self._metrics.write(whole[-1])
                self._log(whole[-1])
            before = row["env_steps"]
            self._health.count(row)
            self._lanes = row.get(LANES_SCORED, self._lanes)
        self._row_time, self._paused, self._row_steps = now, 0.0, self.trainer.env_steps
        if self._callback is not None:
            for row in whole:  # after all have been kept, for it may raise
                self.finished |= bool(self._callback(row))
        self._look_ahead(now)
        scored = EVALUATED in rows[-1]
        scores = self.last, self.best, scored, self._lanes
        self._progress.update(self.trainer.env_steps, speed, *scores)

    def _look_ahead(self, now: float) -> None:
        """Say once, as soon as it is known, how long the run will take."""
        if self._begun is None or now - self._begun[0] < _OUTLOOK_S:
            return
        speed = (self.trainer.env_steps - self._begun[1]) / (now - self._begun[0])
        self._begun = None
        if self.trainer.env_steps < self.config.num_env_steps:
            self._progress.note(ends.outlook(self.config, self.trainer.env_steps, speed))

    def save(self) -> None:
        """Save the run, unless it is saved as it is, and its present policy."""
        with self._pause():
            self._require_folder()
            self._metrics.sync()
            self._keep_best()  # which the disk may have refused when it was evaluated
            if self.trainer.updates != self._saved_update:
                arrays = flatten(self.trainer.state())
                keep = self.config.keep_checkpoints
                save_checkpoint(self.path, self.trainer.env_steps, arrays, self._meta(), keep)
                self._saved_update = self.trainer.updates
                self._processes.wait()
            self._save_policy(LAST_POLICY)
        self._saved_time = time.perf_counter()

    def _keep_best(self) -> None:
        """Save the policy if its evaluation is the highest so far; that it is one counts then."""
        if self._scored == self.trainer.updates and self.last > self.best:  # never where it is NaN
            self._save_policy(BEST_POLICY)
            self.best = self.last

    def conclude(self, stopped: bool = False) -> None:
        """Say how the run ended: by itself, or ``stopped`` by a signal."""
        env_steps, remark = self.trainer.env_steps, self._health.remark(self.trainer.updates)
        if stopped:
            self._progress.note(ends.stopping(self.config, env_steps, self.path))
        elif not self._failure():
            scores, time_s = ends.Scores(self.best, self.last, self._solved), self._wall_time()
            self._progress.note(ends.closing(self.config, scores, env_steps, time_s, self.path))
            if remark:
                self.note(remark)

    def check(self) -> None:
        """Raise UserError if the run has used its budget and come to nothing."""
        if failure := self._failure():
            raise UserError(f"{self.path}: {failure}")

    def _failure(self) -> str | None:
        over = self.trainer.env_steps >= self.config.num_env_steps
        return self._health.failure(self.trainer.updates, self.best) if over else None

    def rescue(self) -> None:
        """Save what has been trained. The error that is under way is the one to tell of."""
        before, trainer = self._saved_update, self.trainer
        with contextlib.suppress(Exception):
            self.save()
        if self._saved_update != before:
            anew = "; every pair will begin a new episode" if trainer.broken_off else ""
            self.note(f"saved after update {trainer.updates}, to be resumed{anew}")

    def _require_folder(self) -> None:
        """Raise UserError unless the run folder is the one that the metrics are written to.

        Another of its name would get checkpoints without a configuration or metrics.
        """
        try:
            same, why = os.path.samestat(self._opened, os.stat(self.path / METRICS)), "is another"
        except OSError as error:
            same, why = False, str(error.strerror)
        if not same:
            raise UserError(
                f"the run folder {self.path} was deleted or replaced while it was trained "
                f"({METRICS}: {why}); nothing more can be saved there"
            )

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        """Time spent here is not training time."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def _wall_time(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._start

    def _meta(self) -> dict[str, Any]:
        return {
            "env_steps": self.trainer.env_steps,
            "update": self.trainer.updates,
            "wall_time_s": self._wall_time(),
            "best_return": self.best,
            "last_return": self.last,
            "solved_env_steps": self._solved,
            "scored_update": self._scored,
            "start": self._attempt,
            "num_shares": self.trainer.num_shares,
            "metrics": self._metrics.written(self.trainer.updates),
            "health": asdict(self._health),
            "config": asdict(self.config),
            "files": {"best": policy_fingerprint(self.path / BEST_POLICY)},
        }

    def _save_policy(self, name: str) -> None:
        self._require_folder()
        scored = self.last if self._scored == self.trainer.updates else None
        save_trained(self.trainer, self.path / name, scored)
