"""The one exception that reaches users: what is wrong, with which value, and how to fix it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

_SHOWN = 100  # characters of a value in a message
_LONGEST, _END = 390, 150  # characters of a message, and of its end, where the fix is
_VERSION = re.compile(r"-v\d+$")
_BEGINNING = 4  # characters that are enough to stand for a name


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


def suggest(name: str, known: Iterable[str], likeness: float = 0.75) -> str:
    """``"; did you mean 'X'?"`` for the known name that ``name`` was meant to be, or nothing.

    Versions such as ``-v5`` aside, for they make unlike names alike, it begins like ``name``, or is
    at least as like it as ``likeness``, which is 1 for equal names.
    """
    typed = name.lower()
    ranked = sorted(((_likeness(typed, one.lower()), one) for one in known), reverse=True)
    return f"; did you mean '{ranked[0][1]}'?" if ranked and ranked[0][0][0] >= likeness else ""


def _likeness(name: str, known: str) -> tuple[float, float]:
    """How like two names are without their versions, and with them."""
    stem, other = _VERSION.sub("", name), _VERSION.sub("", known)
    likeness = difflib.SequenceMatcher(None, other, stem).ratio()
    begins = len(stem) >= _BEGINNING and other.startswith(stem)
    return max(likeness, 1.0 * begins), difflib.SequenceMatcher(None, known, name).ratio()
