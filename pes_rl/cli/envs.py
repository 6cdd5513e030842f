"""``pes-rl envs``: what can be trained, on which engine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from pes_rl import zoo
from pes_rl.envs.registry import BRAX, TASKS, Environment

HELP = "list what can be trained"

_ROW = "{:<30} {:<23} {:>4} {:>4} {:>8} {:>10}  {:<8} {}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Only the form of the list."""
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Print the table of environments."""
    del command
    environments = [*TASKS.values(), *BRAX.values()]
    if options["json"]:
        print(json.dumps([asdict(environment) for environment in environments], indent=2))
        return
    titles = "environment", "engines", "obs", "act", "horizon", "solved at", "preset", "zoo"
    print(_ROW.format(*titles))
    trained = zoo.names()
    for environment in environments:
        print(_row(environment, trained))
    print("Any other Gymnasium id with a Box observation trains on the gymnasium engine.")
    print("Physics of engines that offer several, --backend, the default first:")
    for engine, tasks in (("mjx", TASKS), ("brax", BRAX)):
        for backends in dict.fromkeys(t.backends[engine] for t in tasks.values()):
            names = [name for name, t in tasks.items() if t.backends[engine] == backends]
            named = "the others" if len(names) > len(tasks) // 2 else ", ".join(names)
            print(f"  {engine}: {', '.join(backends)} ({named})")


def _row(environment: Environment, trained: Any) -> str:
    name, known = environment.name, environment.name in TASKS
    solved = "-" if environment.threshold is None else f"{environment.threshold:g}"
    preset = "-" if not known else "tuned" if environment.tuned else "untuned"
    sizes = environment.observation_size, environment.action_size, environment.horizon
    policy = f"zoo/{name}" if name in trained else "-"
    return _ROW.format(name, ", ".join(environment.engines), *sizes, solved, preset, policy)
