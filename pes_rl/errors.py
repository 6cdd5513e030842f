"""The one exception that reaches users: what is wrong, with which value, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_SHOWN = 100  # characters of a value in a message
_LONGEST, _END = 390, 150  # characters of a message, and of its end, where the fix is


class UserError(Exception):
    """A mistake in what the user asked for.

    The command line prints it as ``pes-rl: error: ...`` and exits with code 2; the Python API
    raises it as it is. Messages name the field, the value and the fix in at most three lines; of
    one that a value or path makes long the middle is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST - _END]} ... {text[-_END:]}"


def shown(value: Any) -> str:
    """``value`` as a message has it: its representation, cut short where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def suggest(name: str, known: Iterable[str], likeness: float = 0.5) -> str:
    """``"; did you mean 'X'?"`` for the known name nearest to ``name``, or an empty string.

    ``likeness``, up to 1 for equal names, is what the nearest one must have.
    """
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=likeness)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
