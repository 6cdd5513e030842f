"""Values of the tasks' keyword arguments, as JSON and Python give them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from pes_rl.envs.tasks.ant import BODIES
from pes_rl.errors import UserError


class Kind(NamedTuple):
    """What a value must be in words, the test for it, and what the task is given."""

    words: str
    fits: Callable[[Any], bool]
    convert: Callable[[Any], Any]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    """A number that a float holds, possibly infinite; true, false and NaN are none."""
    if isinstance(value, float):
        return not math.isnan(value)
    return _is_whole(value) and abs(value) <= sys.float_info.max


def _is_number(value: Any) -> bool:
    return _is_real(value) and abs(value) != math.inf


def _is_range(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    return all(map(_is_real, value)) and value[0] <= value[1]


def _is_body(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and value in BODIES
    return _is_whole(value) and 0 <= value < len(BODIES)


_FLAG = Kind("true or false", lambda value: isinstance(value, bool), bool)
_NUMBER = Kind("a number", _is_number, float)
_RANGE = Kind("two numbers [low, high], low <= high", _is_range, lambda v: tuple(map(float, v)))
_BY_TYPE = {bool: _FLAG, float: _NUMBER, tuple: _RANGE}
_BY_NAME = {
    "frame_skip": Kind("a positive whole number", lambda v: _is_whole(v) and v > 0, int),
    "reset_noise_scale": Kind("a number >= 0", lambda v: _is_number(v) and v >= 0, float),
    "main_body": Kind(
        f"0 to {len(BODIES) - 1} or one of {', '.join(filter(None, BODIES))}",
        _is_body,
        lambda value: value,
    ),
}


def checked(task: str, keyword: str, value: Any, default: Any) -> Any:
    """The value as ``make`` of the task wants it; UserError if it is not of the default's kind."""
    kind = _BY_NAME.get(keyword) or _BY_TYPE[type(default)]
    if not kind.fits(value):
        raise UserError(f"{keyword} of {task} must be {kind.words}, not {value!r}")
    return kind.convert(value)
