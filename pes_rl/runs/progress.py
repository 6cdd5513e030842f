"""What a person sees while training runs: a bar on a terminal, next to nothing elsewhere."""

from __future__ import annotations

import time
from typing import Any

from pes_rl import console

_REFRESH_S = 0.25


class Progress:
    """Context manager that shows environment steps, speed, returns and the time left on stderr.

    On a terminal it draws a bar, at most four times a second. Elsewhere it is quiet but for notes:
    metrics.jsonl holds every row.
    """

    def __init__(self, total_env_steps: int, label: str) -> None:
        self.total, self.label = int(total_env_steps), label
        self._bar: Any = None
        self._task: Any = None
        self._next_draw = 0.0

    def __enter__(self) -> Progress:
        if console.is_terminal():
            self._bar = console.make_bar()
            self._task = self._bar.add_task(self.label, total=self.total, info="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """Say one thing, such as that a program is compiling, above the bar or in the log."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
            self._bar.refresh()
        else:
            console.say(text)

    def update(
        self,
        env_steps: int,
        steps_per_second: float,
        current_return: float | None,
        best_return: float | None,
    ) -> None:
        """Report where training is; cheap enough to call on every update."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now < self._next_draw and env_steps < self.total:
            return
        self._next_draw = now + _REFRESH_S
        left = max(0, self.total - env_steps) / steps_per_second if steps_per_second > 0 else None
        info = _info(steps_per_second, current_return, best_return)
        info += f"  {duration(left)} left" if left is not None else ""
        self._bar.update(self._task, completed=env_steps, info=info, refresh=True)


def _info(speed: float, current: float | None, best: float | None) -> str:
    text = f"{speed:,.0f} env steps/s"
    if current is not None:
        text += f"  return {current:.1f}"
    if best is not None:
        text += f"  best {best:.1f}"
    return text


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
