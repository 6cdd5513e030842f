"""What a person sees while a comparison runs: all runs at once on a terminal, else a line each."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pes_rl import console
from pes_rl.console import duration
from pes_rl.storage.run_folder import METRICS

_REFRESH_S = 0.5
_TAIL_BYTES = 8192


class Progress:
    """Context manager showing env steps done of all runs, and of each run at work, on stderr."""

    def __init__(
        self,
        total_env_steps: int,
        done_env_steps: int,
        runs: int,
        done_runs: int,
        what: str = "runs",
    ):
        self._what = what
        self._total, self._done = total_env_steps, done_env_steps
        self._first, self._start = done_env_steps, time.monotonic()
        self._runs, self._done_runs = runs, done_runs
        self._bar: Any = None
        self._rows: dict[str, Any] = {}
        self._next_draw = 0.0

    def __enter__(self) -> Progress:
        if console.is_terminal():
            self._bar = console.make_bar()
            self._all = self._bar.add_task(self._title(), total=self._total, info="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            for row in self._rows.values():
                self._bar.remove_task(row)
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """Say one thing, above the bars or in the log."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            console.say(text)

    def finished(self, label: str, env_steps: int, result: str) -> None:
        """A run has ended."""
        self._done += env_steps
        self._done_runs += 1
        if self._bar is not None:
            self._bar.update(self._all, description=self._title(), completed=self._done, info="")
        self.note(f"[{self._done_runs}/{self._runs}] {label}: {result}")

    def update(self, running: Mapping[str, tuple[Path, int]]) -> None:
        """Show the runs at work: by label, their folders and budgets."""
        now = time.monotonic()
        if self._bar is None or now < self._next_draw:
            return
        self._next_draw = now + _REFRESH_S
        for label in self._rows.keys() - running.keys():
            self._bar.remove_task(self._rows.pop(label))
        steps = self._done
        for label, (run, budget) in running.items():
            if label not in self._rows:
                self._rows[label] = self._bar.add_task(label, total=budget, info="starting")
            row = last_row(run)
            done = min(row.get("env_steps", 0), budget)
            self._bar.update(self._rows[label], completed=done, info=_doing(done, budget))
            steps += done
        speed = (steps - self._first) / (now - self._start)
        left = f"{duration((self._total - steps) / speed)} left" if speed > 0 else ""
        self._bar.update(self._all, completed=steps, info=left, refresh=True)

    def _title(self) -> str:
        return f"{self._done_runs} of {self._runs} {self._what}"


def last_row(run: Path) -> dict[str, Any]:
    """The newest complete row of a run's metrics.jsonl, or nothing; reads its end only."""
    with contextlib.suppress(OSError, ValueError, IndexError), (run / METRICS).open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        row = json.loads(file.read().rpartition(b"\n")[0].splitlines()[-1])
        return row if isinstance(row, dict) else {}
    return {}


def _doing(done: int, budget: int) -> str:
    if done == 0:
        return "starting"
    return "scoring the selected policy" if done >= budget else f"{done / 1e6:.2f} M env steps"
