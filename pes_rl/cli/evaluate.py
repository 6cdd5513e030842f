"""``pes-rl evaluate``: score a saved policy."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import count
from pes_rl.console import say

HELP: str = "score a trained policy in the official environment"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `evaluate`: the policy, and how many episodes it plays."""
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="run folder, policy folder or zoo/NAME"
    )
    parser.add_argument("--episodes", metavar="INT", default="100", help="default: 100")
    parser.add_argument(
        "--seed", metavar="INT", default="0", help="seed of the first episode, default: 0"
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Play the episodes and print the score."""
    del command
    episodes = count("--episodes", options["episodes"], least=1, most=MOST_EPISODES)
    seed = count("--seed", options["seed"], least=0)
    from pes_rl.evaluation import evaluate
    from pes_rl.storage.files import plain

    result = evaluate(options["run"], episodes=episodes, seed=seed)
    print(json.dumps(plain(result)) if options["json"] else _text(result))
    if result["version_changes"]:
        changes = ", ".join(result["version_changes"])
        say(f"pes-rl: note: versions differ from those of training ({changes}); scores may too")


def _text(result: dict[str, Any]) -> str:
    mean, spread = result["episode_return_mean"], result["episode_return_std"]
    episodes, seed = result["episodes"], result["seed"]
    interval = "no interval of fewer than two"
    if result["episode_return_interval"]:
        low, high = result["episode_return_interval"]
        interval = f"95 % interval of the mean {low:.2f} to {high:.2f}"
    played = f"1 episode, seed {seed}"
    if episodes > 1:
        played = f"{episodes} episodes, seeds {seed} to {seed + episodes - 1}"
    if broken := result["broken_episodes"]:
        played += f", {broken} broke down and count only here"
    return (
        f"{result['policy']} in {result['environment']}\n"
        f"episode return {mean:.2f} +- {spread:.2f} (standard deviation); {interval}\n"
        f"episode length {result['episode_length_mean']:.1f}; {played}, deterministic policy"
    )
