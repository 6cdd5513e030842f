"""What the commands share in reading flags."""

from __future__ import annotations

from pes_rl.config_values import parse_value
from pes_rl.errors import UserError


def flag(name: str) -> str:
    """``num_pairs`` as it is typed: ``--num-pairs``."""
    return "--" + name.replace("_", "-")


def count(flag: str, text: str, least: int) -> int:
    """The integer that ``text`` writes (``2e6`` and ``500_000`` too), at least ``least``."""
    try:
        value = parse_value(int, text)
    except ValueError as expected:
        raise UserError(f"{flag} must be {expected}, not {text!r}") from None
    if value < least:
        raise UserError(f"{flag} must be at least {least}, not {value}")
    return value
