"""``pes-rl envs``: what can be trained, on which engine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from pes_rl import zoo
from pes_rl.envs.registry import TASKS

HELP = "list what can be trained"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Only the form of the list."""
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Print the table of environments."""
    del command
    if options["json"]:
        print(json.dumps([asdict(task) for task in TASKS.values()], indent=2))
        return
    row = "{:<24} {:<20} {:>5} {:>4} {:>8} {:>10}  {:<8} {}"
    titles = "environment", "engines", "obs", "act", "horizon", "solved at", "preset", "zoo"
    print(row.format(*titles))
    trained = zoo.names()
    for t in TASKS.values():
        solved = "-" if t.threshold is None else f"{t.threshold:g}"
        engines = ", ".join(t.engines)
        preset = "tuned" if t.tuned else "untuned"
        sizes = t.observation_size, t.action_size, t.horizon
        policy = f"zoo/{t.name}" if t.name in trained else "-"
        print(row.format(t.name, engines, *sizes, solved, preset, policy))
    print("Any other Gymnasium id with a Box observation trains on the gymnasium engine.")
