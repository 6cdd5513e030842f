"""What a person sees while training runs: a bar on a terminal, a line an evaluation elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

from pes_rl import console

_REFRESH_S = 0.25
_LINES_S = 10.0  # between lines that only lanes have something new for
_BAR, _PERCENT = 8, 4  # columns: what the bar needs at least, what the percentage has
_GAP = "  "
_NEWEST = 0.1  # share of an update in the speed that is shown, which would jump about otherwise


class Progress:
    """Context manager that shows environment steps, speed, returns and the time left on stderr.

    On a terminal it draws a bar, at most four times a second. Elsewhere it has a line for each
    evaluation; metrics.jsonl holds every row.
    """

    def __init__(self, total_env_steps: int, label: str) -> None:
        self.total, self.label = int(total_env_steps), label
        self._bar: Any = None
        self._task: Any = None
        self._next_draw = self._next_line = 0.0
        self._seconds_per_step: float | None = None

    def __enter__(self) -> Progress:
        if console.is_terminal():
            self._bar = console.make_bar()
            label, _ = fit(self.label, {}, self._bar.console.width)
            self._task = self._bar.add_task(label, total=self.total, info="")
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
            # The terminal wraps it, so that commands stay in one piece.
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            self._bar.refresh()
        else:
            console.say(text)

    def update(
        self,
        env_steps: int,
        steps_per_second: float,
        last_return: float,
        best_return: float,
        evaluated: bool = False,
        lanes_return: float = math.nan,
    ) -> None:
        """Report where training is; cheap enough to call on every update.

        Args:
          env_steps: those trained so far.
          steps_per_second: the speed of the last updates.
          last_return: the newest evaluation, NaN where there is none.
          best_return: the highest one, -inf where there is none.
          evaluated: whether that evaluation is of this update.
          lanes_return: the newest score of evaluation lanes, NaN where there is none.
        """
        steps_per_second, now = self._smooth(steps_per_second), time.monotonic()
        if self._bar is None:
            returns = last_return, best_return, lanes_return
            scored = math.isfinite(lanes_return) and now >= self._next_line
            if evaluated or scored:
                console.say(_score_line(env_steps, steps_per_second, returns))
                self._next_line = now + _LINES_S
            return
        if now < self._next_draw and env_steps < self.total:
            return
        self._next_draw = now + _REFRESH_S
        parts = {"speed": _speed(steps_per_second)}
        if math.isfinite(lanes_return):
            parts["lanes"] = f"lanes {lanes_return:.1f}"
        if math.isfinite(last_return):
            parts["return"] = f"return {last_return:.1f}"
        if math.isfinite(best_return):
            parts["best"] = f"best {best_return:.1f}"
        if steps_per_second > 0:
            left = max(0, self.total - env_steps) / steps_per_second
            parts["left"] = f"{console.duration(left)} left"
        label, info = fit(self.label, parts, self._bar.console.width)
        self._bar.update(
            self._task, description=label, completed=env_steps, info=info, refresh=True
        )

    def _smooth(self, steps_per_second: float) -> float:
        if steps_per_second <= 0:
            return 0.0
        now = 1 / steps_per_second
        before = now if self._seconds_per_step is None else self._seconds_per_step
        self._seconds_per_step = before + _NEWEST * (now - before)
        return 1 / self._seconds_per_step


def fit(label: str, parts: dict[str, str], width: int) -> tuple[str, str]:
    """``label`` and ``parts`` for a bar in so many columns: what has no room is left out.

    The returns and the time left are the last ones to go. Of a long label a third of the columns
    shows the beginning, whole words of it if that will do.
    """
    most = max(_BAR, width // 3)
    if len(label) > most:
        label = label.rsplit(" ", 1)[0]
    label = label if len(label) <= most else f"{label[: most - 1]}…"
    room = width - len(label) - _BAR - _PERCENT - 3  # a blank between columns
    kept: list[str] = []
    for name in ("lanes", "return", "left", "best", "speed"):
        if name in parts and len(_GAP.join(parts[one] for one in [*kept, name])) <= room:
            kept.append(name)
    return label, _GAP.join(text for name, text in parts.items() if name in kept)


def _speed(steps_per_second: float) -> str:
    return f"{steps_per_second:,.0f} env steps/s"


def _score_line(env_steps: int, speed: float, returns: tuple[float, ...]) -> str:
    last, best, lanes = (f"{x:.1f}" if math.isfinite(x) else "none" for x in returns)
    beside = f"lanes {lanes}, " if math.isfinite(returns[-1]) else ""
    return f"{env_steps:,} env steps: {beside}return {last}, best {best}, {_speed(speed)}"
