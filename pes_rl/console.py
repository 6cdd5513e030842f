"""What is said on stderr to whoever watches; that nobody can hear it is no reason to stop working.

A service has no stderr at all, the disk of a log fills up, and terminals and the readers of pipes
go away.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

_UNHEARD = (OSError, ValueError)  # the second: it has been closed


def say(text: str) -> None:
    """One line, or several, at once."""
    if sys.stderr is not None:
        with contextlib.suppress(*_UNHEARD):
            print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line that tells who warns."""
    say(f"pes-rl: warning: {text}")


def is_terminal() -> bool:
    """Whether somebody watches on a terminal."""
    with contextlib.suppress(AttributeError, ValueError):  # of None, and of one that is closed
        return sys.stderr.isatty()
    return False


def make_console() -> Any:
    """Rich's console on stderr."""
    from rich.console import Console

    stream: Any = _Stderr()
    return Console(file=stream)


def make_bar() -> Any:
    """Rich's bar on stderr; its tasks have a field ``info``."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    # The bar alone gives way where the terminal is narrow.
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[info]}", markup=False),
        console=make_console(),
        auto_refresh=False,  # no thread: it would compete with the physics for the interpreter
    )


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _Stderr:
    """``sys.stderr`` for Rich, which puts a stream of its own there while it shows a bar."""

    def _stream(self) -> Any:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:
        return getattr(self._stream(), "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return is_terminal()

    def fileno(self) -> int:
        return self._stream().fileno()

    def write(self, text: str) -> int:
        with contextlib.suppress(*_UNHEARD):
            self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(*_UNHEARD):
            self._stream().flush()
