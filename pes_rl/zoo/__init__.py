"""Trained policies that come with the package, each with a card saying how it was made and scored.

``policies/NAME/`` holds a policy artifact, ``card.json`` and the same for people, ``CARD.md``.
Every command that takes a policy takes ``zoo/NAME``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError, suggest

FOLDER = Path(__file__).parent / "policies"
CARD, PAGE = "card.json", "CARD.md"


def names() -> list[str]:
    """Names of the policies that are there, sorted."""
    return sorted(file.parent.name for file in FOLDER.glob(f"*/{CARD}"))


def find(name: str) -> Path:
    """Folder of the policy called ``name``; UserError naming the nearest if there is none."""
    known = names()
    if name in known:
        return FOLDER / name
    listed = [f"zoo/{one}" for one in known]
    hint = suggest(name, known).replace("'", "'zoo/", 1)
    hint = hint or f"; there is {', '.join(listed) or 'none yet'}"
    raise UserError(f"the zoo has no policy {f'zoo/{name}'!r}{hint}")


def card(name: str) -> dict[str, Any]:
    """How the policy called ``name`` was trained and how it scored, see `benchmarks.cards`."""
    return json.loads((find(name) / CARD).read_text())
