"""The return at which a run ends before its budget does."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.config import Config
from pes_rl.config.values import parse_value
from pes_rl.errors import UserError, shown

SOLVED = "solved"


def goal_return(config: Config, stop_at: Any) -> float:
    """``stop_at`` as a return, infinite if it is None; ``"solved"`` is the task's threshold.

    Raises UserError where it is neither, or the task has none.
    """
    if stop_at is None:
        return math.inf
    if stop_at != SOLVED:
        try:
            return parse_value(float, stop_at)
        except ValueError:
            raise UserError(
                f"stop_at must be a return or {SOLVED!r}, not {shown(stop_at)}"
            ) from None
    threshold = config.environment.threshold
    if threshold is None:
        raise UserError(
            f"stop_at {SOLVED!r} needs a return that counts as solved, which {config.env!r} does "
            "not have; give one, such as --stop-at 100"
        )
    return threshold
