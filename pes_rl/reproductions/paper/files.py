"""What a part leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pes_rl.reproductions.paper.part import Outcome, Part, Row
from pes_rl.storage.files import read_json, write_text_atomic

CURVE, RESULT, COST = "curve.jsonl", "result.json", "cost.json"


def outcome(part: Part, folder: Path) -> Outcome:
    """What is on disk of a part."""
    return Outcome(part, read_rows(folder), read_json(folder / RESULT))


def read_rows(folder: Path) -> list[Row]:
    """The rows recorded so far."""
    path = folder / CURVE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """All rows, in place of those that were there."""
    write_text_atomic(folder / CURVE, "".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, values: Any) -> None:
    """One file of numbers."""
    write_text_atomic(path, json.dumps(values, indent=1) + "\n")
