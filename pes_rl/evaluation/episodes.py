"""What became of episodes, and who is told how far they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pes_rl import console

Report = Callable[[float], None]
"""Told how many episodes are over, those under way counted by the part that is done."""

_REFRESH_S = 0.25


class Outcomes(NamedTuple):
    """How E episodes went.

    Attributes:
      returns: [E] their returns, NaN where the simulation broke down.
      lengths: int64 [E], env steps.
      terminated: bool [E], whether they came to their own end rather than to the time limit.
      success: [E] 1 or 0 where the environment says whether it was one, else NaN.
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    success: np.ndarray

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """One dict an episode, whose first seed was ``seed``.

        ``end`` is ``terminated``, ``truncated`` or ``broken``, ``return`` None of a broken one, and
        ``success`` None where nobody says.
        """
        broken, silent = np.isnan(self.returns), np.isnan(self.success)
        ends = np.where(broken, "broken", np.where(self.terminated, "terminated", "truncated"))
        return [
            {
                "seed": seed + i,
                "return": None if broken[i] else float(self.returns[i]),
                "length": int(self.lengths[i]),
                "end": str(ends[i]),
                "success": None if silent[i] else bool(self.success[i]),
            }
            for i in range(len(self.returns))
        ]


def unheard(done: float) -> None:
    """A `Report` that nobody reads."""
    del done


@contextlib.contextmanager
def counted(episodes: int) -> Iterator[Report]:
    """A bar of so many episodes while inside, on a terminal; nothing elsewhere."""
    if not console.is_terminal():
        yield unheard
        return
    bar = console.make_bar()
    bar.live.transient = True
    task, due = bar.add_task("evaluating", total=episodes, info=""), 0.0

    def report(done: float) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + _REFRESH_S
            info = f"{int(done)} of {episodes} episodes"
            bar.update(task, completed=done, info=info, refresh=True)

    with bar:
        yield report
