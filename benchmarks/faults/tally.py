"""How cases end, counted; those that end badly are kept."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

# Continued bit for bit; the same but for the damaged file, which a warning named; one line and
# exit 2, with everything older intact.
SURVIVED, SAID, REFUSED = "survived", "said", "refused"
# Older results gone; other results, and nobody told; a traceback; no end.
LOST, SILENT, TRACEBACK, HUNG = "lost", "silent", "traceback", "hung"
ENDS = (SURVIVED, SAID, REFUSED, LOST, SILENT, TRACEBACK, HUNG)
FAULTS = (LOST, SILENT, TRACEBACK, HUNG)
_KEPT = 20  # folders of failures


class Tally:
    """Counts the cases of one class of faults.

    Attributes:
      counts: cases by how they ended.
      failures: what the cases that ended badly were.
      facts: measurements beside the counts.
    """

    def __init__(self, name: str, out: Path):
        self.name, self.out = name, out
        self.counts: Counter[str] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self._start = self._shown = time.monotonic()

    def add(self, end: str, case: str, detail: str = "", keep: Path | None = None) -> None:
        """Count a case; ``keep`` is a folder to be kept if it ended badly."""
        self.counts[end] += 1
        if end in FAULTS:
            self.failures.append({"case": case, "end": end, "detail": detail[-2000:]})
            number = len(self.failures)
            if keep is not None and keep.exists() and number <= _KEPT:
                place = self.out / "failures" / f"{self.name}-{number:03d}"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(keep, place, symlinks=True)
            say(f"{self.name}: {end.upper()} {case}: {detail.strip()[-300:]}")
        now = time.monotonic()
        if now - self._shown > 10:
            self._shown = now
            self.write()  # what there is, should this be ended
            say(f"{self.name}: {self.tried} cases in {now - self._start:.0f} s")

    @property
    def tried(self) -> int:
        return sum(self.counts.values())

    def record(self) -> dict[str, Any]:
        """What the table is made of."""
        return {
            "class": self.name,
            "tried": self.tried,
            **{end: self.counts[end] for end in ENDS},
            "seconds": round(time.monotonic() - self._start),
            "facts": self.facts,
            "failures": self.failures,
        }

    def write(self) -> None:
        text = json.dumps(self.record(), indent=1)
        (self.out / f"{self.name}.json").write_text(text + "\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
