"""``python -m benchmarks.faults --out DIR``: all classes of faults, and DIR/table.md."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from pathlib import Path

from benchmarks.faults import subjects
from benchmarks.faults.tally import Tally, say

CLASSES = ("kills", "corruption", "storage", "power", "signals", "processes", "forged", "soak")
_COLUMNS = ("class", "tried", "survived", "said", "refused", "lost", "silent", "traceback", "hung")


def table(out: Path) -> str:
    """The table of all classes whose results are in ``out``."""
    found = [json.loads((out / f"{n}.json").read_text()) for n in CLASSES if _done(out, n)]
    total = {key: sum(part[key] for part in found) for key in (*_COLUMNS[1:], "seconds")}
    lines = ["| " + " | ".join((*_COLUMNS, "time")) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for part in (*found, {"class": "all", **total}):
        cells = [*(str(part[key]) for key in _COLUMNS), f"{part['seconds']} s"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _done(out: Path, name: str) -> bool:
    return (out / f"{name}.json").is_file()


def main() -> int:
    """Run the classes; the exit code says whether all cases ended well."""
    parser = argparse.ArgumentParser("python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=CLASSES)
    parser.add_argument("--scale", choices=("quick", "whole"), default="whole")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    subjects.prepare()
    bad, root = 0, subjects.workplace()
    try:
        for name in options.classes:
            module = importlib.import_module(f"benchmarks.faults.{name}")
            tally = Tally(name, options.out)
            module.run(tally, options.scale == "quick", root)
            tally.write()
            bad += len(tally.failures)
            say(f"{name}: {tally.tried} cases, {dict(tally.counts)}")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    (options.out / "table.md").write_text(table(options.out))
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
