"""The loop of a training run: what is due after each call of a trainer, and who does it.

Every process of a run goes through the same `train`, so that all make the same collective calls in
the same order. The first one hands it a `pes_rl.runs.recorder.Recorder`, the others a `Silent`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from pes_rl.config import Config
from pes_rl.config.values import seconds
from pes_rl.storage.metrics import LANES_SCORED
from pes_rl.training.processes import Processes
from pes_rl.training.protocol import Trainer


class Due(NamedTuple):
    """What is to be done with some updates that were just made.

    Attributes:
      rows: a metrics row for each update.
      evaluate: whether the policy is scored now.
      save: whether a checkpoint is written now.
    """

    rows: list[dict[str, Any]]
    evaluate: bool
    save: bool


class Output(Protocol):
    """What becomes of a run's results in one process."""

    @property
    def finished(self) -> bool:
        """Whether somebody who saw the results wants the run to stop."""
        ...

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint is older than checkpoints may be, where that is a time."""
        ...

    @property
    def given_up(self) -> bool:
        """Whether the policy was just scored, and training is to begin anew."""
        ...

    def note(self, text: str) -> None:
        """Say one thing to whoever watches."""
        ...

    def start(self) -> None:
        """Training begins now; what came before is not part of its speed."""
        ...

    def evaluate(self, rows: list[dict[str, Any]]) -> None:
        """Score the policy and add the score to the last row."""
        ...

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Keep the rows."""
        ...

    def begin_anew(self) -> int:
        """A new start begins; its number, which only the first process knows."""
        ...

    def save(self) -> None:
        """Save the run as it is; a part of it is gathered from all processes."""
        ...

    def rescue(self) -> None:
        """`save` because of an error, which is the one to tell of."""
        ...


def schedule(trainer: Trainer, goal: float = math.inf) -> Iterator[Due]:
    """Advance until the budget is used up, and say each time what is due."""
    config = trainer.config
    while trainer.env_steps < config.num_env_steps:
        before = trainer.env_steps
        rows = trainer.advance()
        yield due_after(config, before, trainer.env_steps, rows, goal)


def due_after(
    config: Config, before: int, now: int, rows: list[dict[str, Any]], goal: float = math.inf
) -> Due:
    """What is due after updates that took the run from ``before`` to ``now`` env steps.

    The policy is scored too where evaluation lanes, whose theta changes under them, have come to
    the ``goal``.
    """

    def crossed(interval: int) -> bool:
        return now // interval > before // interval

    over = now >= config.num_env_steps
    near = any(row.get(LANES_SCORED, -math.inf) >= goal for row in rows)
    save = isinstance(config.checkpoint_every, int) and crossed(config.checkpoint_every)
    return Due(rows, over or near or crossed(config.eval_every), save)


def train(
    trainer: Trainer,
    output: Output,
    processes: Processes,
    stop: list[int],
    goal: float = math.inf,
) -> None:
    """Update until the budget is used up or the run is asked to stop; save either way.

    ``stop`` receives the number of a signal that asks for it. The run is scored out of turn where
    its lanes reach the ``goal``, which the output then looks at.
    """
    output.save()  # from the first moment on there is something to resume
    if trainer.env_steps < trainer.config.num_env_steps:
        trainer.compile(output.note)
        processes.wait()
    else:
        output.note("nothing left to train")
    output.start()
    by_time = seconds(trainer.config.checkpoint_every) is not None
    if not processes.agreed(stop, output.finished):
        _retry(trainer, output, processes)
        for due in schedule(trainer, goal):
            error = _put_out(output, due)
            if due.evaluate:
                processes.wait()
            if processes.agreed(stop, output.finished or error is not None):
                if error is not None:  # the others save too, as at any end
                    output.rescue()
                    raise error
                break
            if due.save or (by_time and processes.agreed([], output.overdue)):
                output.save()
            _retry(trainer, output, processes)
    output.save()


def _retry(trainer: Trainer, output: Output, processes: Processes) -> None:
    """Begin anew where the start has come to nothing.

    Before the next update, not after the last one: what a run ends with is what it was scored for.
    """
    config = trainer.config
    if config.retry_after is None or trainer.env_steps >= config.num_env_steps:
        return
    if processes.agreed([], output.given_up):
        trainer.begin_anew(processes.decide(output.begin_anew))


def _put_out(output: Output, due: Due) -> Exception | None:
    """Score and keep what is due; the error of the environment or callback, if there was one."""
    try:
        try:
            if due.evaluate:
                output.evaluate(due.rows)
        finally:  # whatever comes of it, these updates have been made
            output.write(due.rows)
    except Exception as error:
        return error
    return None


class Silent:
    """The output of a process that writes nothing: it only takes part where all have to."""

    finished = overdue = given_up = False

    def __init__(self, trainer: Trainer, processes: Processes, saved_update: int | None):
        self._trainer, self._processes, self._saved = trainer, processes, saved_update

    def note(self, text: str) -> None:
        """Nobody watches."""

    def start(self) -> None:
        """Speed is measured by the first process."""

    def evaluate(self, rows: list[dict[str, Any]]) -> None:
        """The first process scores alone."""

    def write(self, rows: list[dict[str, Any]]) -> None:
        """The first process keeps them."""

    def begin_anew(self) -> int:
        """The first process is asked."""
        return 0

    def save(self) -> None:
        """Hand over what the first process saves, and wait until it is on disk."""
        if self._trainer.updates != self._saved:
            self._trainer.state()
            self._processes.wait()
            self._saved = self._trainer.updates

    def rescue(self) -> None:
        """`save`; nothing fails here, for the first process alone scores and keeps."""
        self.save()


MakeTrainer = Callable[[Config, Processes], Trainer]
