"""From text to values: one set of rules for flags, YAML scalars and Python arguments."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pes_rl.errors import UserError, shown
from pes_rl.storage.run_folder import CONFIG

_TYPED = "env_kwargs"
_DEEPEST = 50  # lists and mappings inside one another
_NULL = ("", "~", "null", "none")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h)")

# How often something is done: every so many env steps, or after a time such as 10min.
Interval = int | str


def is_null(value: Any) -> bool:
    """Whether ``value`` or its text means "not set"."""
    return value is None or (isinstance(value, str) and value.lower() in _NULL)


def is_literal(kind: Any) -> bool:
    """Whether ``kind`` is a choice among fixed names."""
    return get_origin(kind) is Literal


def required(kind: Any) -> Any:
    """``kind`` without its ``| None``, if it has one."""
    optional = get_origin(kind) in (Union, UnionType) and type(None) in get_args(kind)
    return get_args(kind)[0] if optional else kind


def parse_value(kind: Any, value: Any) -> Any:
    """``value`` as the type ``kind``; a ValueError says in words what was expected."""
    if required(kind) is not kind:
        return None if is_null(value) else parse_value(required(kind), value)
    if is_literal(kind):
        if value not in get_args(kind):
            raise ValueError("one of " + ", ".join(get_args(kind)))
        return value
    if get_origin(kind) is tuple:
        items = re.split(r"[,\s]+", value.strip("[]() ")) if isinstance(value, str) else value
        if not isinstance(items, Sequence):
            raise ValueError("a list of whole numbers")
        return tuple(_whole(item) for item in items)
    if get_origin(kind) is dict:
        return _mapping(value)
    if kind == Interval:
        return _interval(value)
    return {int: _whole, float: _number, bool: _truth, str: _text}[kind](value)


def _whole(value: Any) -> int:
    """2000000, 500_000, 2e6 and their texts; never a fraction, a boolean or an infinity."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = value if isinstance(value, int) else Decimal(str(value))
        # The bound comes first: int(Decimal("1e999999999")) would never end.
        if not abs(number) < 2**63 or number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, ArithmeticError):  # Decimal's errors are arithmetic ones
        raise ValueError("a whole number") from None


def _interval(value: Any) -> Interval:
    if isinstance(value, str) and seconds(value):
        return value
    try:
        return _whole(value)
    except ValueError:
        raise ValueError("env steps or a time such as 90s, 10min or 2h") from None


def seconds(interval: Interval) -> float | None:
    """The length of an interval that is a time; None of one in env steps."""
    match = _TIME.fullmatch(interval) if isinstance(interval, str) else None
    return float(match[1]) * _SECONDS[match[2]] if match else None


def _number(value: Any) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("a finite number")
    return found


def _truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a name")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    """A JSON object, or its text; tuples become lists, as they do in a file."""
    try:
        found = json.loads(value if isinstance(value, str) else json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError('a JSON object such as {"frame_skip": 1}')
    return found


def count(field: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """``value`` (2000000, "2e6") as a whole number; UserError if it is none or out of bounds."""
    try:
        number = parse_value(int, value)
    except ValueError as expected:
        raise UserError(f"{field} must be {expected}, not {shown(value)}") from None
    if number < least:
        raise UserError(f"{field} must be at least {least}, not {number}")
    if number > most:
        raise UserError(f"{field} must be at most {most}, not {number}")
    return number


def number(field: str, value: Any) -> float:
    """``value`` (0.1, "1e-3") as a finite number; UserError if it is none."""
    try:
        return _number(value)
    except ValueError as expected:
        raise UserError(f"{field} must be {expected}, not {shown(value)}") from None


def flag(name: str) -> str:
    """The flag of a field of ``Config``: ``--num-pairs`` for ``num_pairs``."""
    return "--" + name.replace("_", "-")


def as_typed(name: str, value: Any) -> list[str]:
    """The words on a command line that give the option ``name`` this value."""
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    if isinstance(value, tuple | list):
        return [flag(name), *map(str, value)]
    if isinstance(value, dict):
        return [flag(name), json.dumps(value)]
    return [flag(name), "none" if value is None else str(value)]


def read_yaml(path: Path, source: str) -> dict[str, Any]:
    """A mapping from a file; scalars stay text, so that flags and files follow the same rules.

    Below ``env_kwargs`` they are what YAML, and JSON, would have them be.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        _refuse_bombs(text, source)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        document = yaml.load(text, Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        inside = path / CONFIG
        hint = f"; did you mean '{inside}'?" if inside.is_file() else ""
        raise UserError(f"cannot read {source}: {reason}{hint}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        problem = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{source} is not valid YAML (line {line}): {problem}") from None
    if document in (None, ""):
        return {}
    if not isinstance(document, dict) or not isinstance(node, yaml.MappingNode):
        raise UserError(f"{source} must hold `key: value` lines, such as `num_pairs: 16`")
    _refuse_duplicates(node, source)
    for block, inner in ((document, node), *_blocks(document, node)):
        if isinstance(block.get(_TYPED), dict):
            block[_TYPED] = next(_typed(v) for k, v in inner.value if k.value == _TYPED)
    return document


def _refuse_bombs(text: str, source: str) -> None:
    """Raise UserError for what small files can keep a reader busy with for hours.

    These are aliases, values that stand for others, of which a few lines can make billions, and
    thousands of brackets.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        where = f"(line {event.start_mark.line + 1})"
        if isinstance(event, yaml.AliasEvent):
            alias = shown(f"*{event.anchor}")
            raise UserError(f"{source} has the alias {alias} {where}; write its value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise UserError(f"{source} is nested more than {_DEEPEST} deep {where}; flatten it")


def _blocks(document: dict[str, Any], mapping: Any) -> list[tuple[dict[str, Any], Any]]:
    return [(document[k.value], v) for k, v in mapping.value if isinstance(document[k.value], dict)]


def _typed(node: Any) -> Any:
    """A YAML node as the value that it stands for; plain words that are no JSON stay text."""
    if node.id == "mapping":
        return {key.value: _typed(inner) for key, inner in node.value}
    if node.id == "sequence":
        return [_typed(inner) for inner in node.value]
    text: str = node.value
    words = {"True": "true", "False": "false", "~": "null", ".inf": "Infinity"}
    if node.style is None:  # not quoted
        with contextlib.suppress(ValueError):
            return json.loads(words.get(text, text))
    return text


def _refuse_duplicates(mapping: Any, source: str) -> None:
    """Raise UserError where a key is given twice: YAML readers keep the last one silently."""
    keys = [key.value for key, _ in mapping.value]
    for key, inner in mapping.value:
        if keys.count(key.value) > 1:
            raise UserError(f"{source} gives {key.value!r} more than once; keep one")
        if inner.id == "mapping":
            _refuse_duplicates(inner, source)
