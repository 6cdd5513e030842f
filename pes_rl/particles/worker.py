"""A worker process: it steps particles and answers `pes_rl.particles.workers` until that closes.

Messages are pickles on standard input and output: ``(method, key, arguments)``, answered by a
``Reply``. What the environments print goes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import traceback
from typing import Any, NamedTuple

import gymnasium

from pes_rl.envs.gymnasium_make import registered
from pes_rl.envs.make import make_simulator
from pes_rl.envs.registry import Environment
from pes_rl.errors import UserError
from pes_rl.particles.crew import Crew
from pes_rl.policies import Policy
from pes_rl.runtime import single_threaded_math


class Reply(NamedTuple):
    """What became of one call: its ``result``, or the ``problem`` and where it arose."""

    result: Any = None
    problem: Exception | None = None
    where: str = ""


class About(NamedTuple):
    """What the trainer asks of a simulator, see `pes_rl.envs.simulator.Simulator`."""

    observation: Any
    action: Any
    action_shape: tuple[int, ...]
    exact: bool
    remarks: list[str]


class Worker:
    """This process's share of each simulator, and the crew in it."""

    def __init__(self) -> None:
        self._simulators: dict[int, Any] = {}
        self._crews: dict[int, Crew] = {}

    def open(
        self, key: int, environment: Environment, registration: Any, count: int, look: bool
    ) -> About | None:
        """Make ``count`` environments; ``look`` asks what they are like."""
        if registration is not None and not registered(environment.gymnasium_id or ""):
            gymnasium.registry[registration.id] = registration
        self._simulators[key] = made = make_simulator(environment, "gymnasium", count, 1)
        if not look:
            return None
        exact, remarks = made.exact, list(made.remarks)
        return About(made.observation, made.action, made.action_shape, exact, remarks)

    def man(self, key: int, policy: Policy, count: int) -> None:
        """Give the environments particles that act by ``policy``."""
        self._crews[key] = Crew(self._simulators[key], policy, count)

    def restart(self, key: int, rows: Any, rngs: Any) -> None:
        """New episodes in ``rows``."""
        self._crews[key].restart(rows, rngs)

    def unroll(self, key: int, *arguments: Any) -> Any:
        """The tally of `Crew.unroll`, and who has ended."""
        tally = self._crews[key].unroll(*arguments)
        return tally, self._crews[key].ended

    def state(self, key: int) -> dict[str, Any]:
        """What `Crew.state` returns."""
        return self._crews[key].state()

    def restore(self, key: int, state: dict[str, Any]) -> None:
        """Continue from there."""
        self._crews[key].restore(state)

    def close(self) -> None:
        """Close all environments."""
        for simulator in self._simulators.values():
            simulator.close()


def main() -> None:
    """Answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's business
    with os.fdopen(os.dup(0), "rb") as inbox, os.fdopen(os.dup(1), "wb") as outbox:
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what they ask for is not in the messages
        with single_threaded_math():
            _serve(inbox, outbox)


def _serve(inbox: Any, outbox: Any) -> None:
    worker = Worker()
    while True:
        try:
            method, key, arguments = pickle.load(inbox)
        except EOFError:
            return worker.close()
        try:
            reply = Reply(getattr(worker, method)(key, *arguments))
        except Exception as error:
            where = "" if isinstance(error, UserError) else traceback.format_exc()
            reply = Reply(None, _portable(error), where)
        try:
            pickle.dump(reply, outbox, pickle.HIGHEST_PROTOCOL)
            outbox.flush()
        except BrokenPipeError:  # the trainer has gone
            return worker.close()


def _portable(error: Exception) -> Exception:
    """The same exception, or one that says the same where it may be unknown elsewhere."""
    if isinstance(error, UserError) or type(error).__module__ == "builtins":
        with contextlib.suppress(Exception):
            return pickle.loads(pickle.dumps(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
