"""``pes-rl envs``: what can be trained, on which engine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from pes_rl import zoo
from pes_rl.config import build_config
from pes_rl.config.sources import preset_source
from pes_rl.envs.registry import BRAX, OFFICIAL, Environment, default_backend

HELP: str = "list what can be trained"

_ROW = "{:<30} {:<23} {:>4} {:>4} {:>8} {:>10}  {:<26} {}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the one flag of `envs`."""
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Print the environments as a table or as JSON."""
    del command
    environments = [*OFFICIAL.values(), *BRAX.values()]
    if options["json"]:
        print(json.dumps([asdict(environment) for environment in environments], indent=2))
        return
    titles = "environment", "engines", "obs", "act", "horizon", "solved at", "zoo", "preset"
    print(_ROW.format(*titles))
    trained = zoo.names()
    for environment in environments:
        print(_row(environment, trained))
    print("Any other Gymnasium id trains too (--env CartPole-v1), and environments of your own:")
    print("--env module:Id-v0, module:Class or module:function. In JAX: playground/CheetahRun,")
    print("gymnax/CartPole-v1, or your own (docs/environments.md).")
    print("Physics of engines that offer several, --backend, the default first:")
    for engine, tasks in (("mjx", OFFICIAL), ("brax", BRAX)):
        for line in _backends(engine, tasks):
            print(f"  {engine}: {line}")


def _backends(engine: str, tasks: Mapping[str, Environment]) -> list[str]:
    """One line for each set of backends that ``engine`` offers, with the tasks that have it."""
    groups: dict[tuple[str, ...], list[Environment]] = {}
    for task in tasks.values():
        groups.setdefault(task.backends[engine], []).append(task)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = []
    for backends, group in ranked:
        asked = "" if default_backend(group[0], engine) else ", only when asked for"
        named = "all others" if group is ranked[0][1] else ", ".join(t.name for t in group)
        lines.append(f"{', '.join(backends)}{asked} ({named if len(ranked) > 1 else 'all'})")
    return lines


def _row(environment: Environment, trained: Collection[str]) -> str:
    name = environment.name
    solved = "-" if environment.threshold is None else f"{environment.threshold:g}"
    preset = preset_source(build_config({"env": name})) if name in OFFICIAL else "-"
    sizes = environment.observation_size, environment.action_size, environment.horizon
    policy = f"zoo/{name}" if name in trained else "-"
    return _ROW.format(name, ", ".join(environment.engines), *sizes, solved, policy, preset)
