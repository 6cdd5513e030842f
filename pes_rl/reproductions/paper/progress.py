"""What a person sees of a part under way: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from pes_rl import console

_LINE_S = 60.0


class Progress:
    """Context manager that shows updates of all seeds, their speed and the time left on stderr."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total
        self._bar: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if console.is_terminal():
            self._bar = console.make_bar()
            self._task = self._bar.add_task(self.label, total=self.total, info="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """Say one thing, above the bar or in the log."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            console.say(text)

    def update(self, done: int, seconds: float) -> None:
        """So many updates of all seeds have been made, one in so many seconds."""
        left = f"{seconds:.3g} s each  {console.duration(seconds * (self.total - done))} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, info=left, refresh=True)
        elif time.monotonic() - self._said > _LINE_S:
            self._said = time.monotonic()
            console.say(f"{self.label}: {done} of {self.total} updates, {left}")
