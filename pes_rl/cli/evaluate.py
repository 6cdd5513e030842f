"""``pes-rl evaluate``: score a saved policy."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pes_rl.cli.parsing import count

HELP = "score a trained policy in the official environment"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The policy, and how often it plays."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder or policy")
    parser.add_argument("--episodes", metavar="INT", default="100", help="default: 100")
    parser.add_argument("--seed", metavar="INT", default="0", help="default: 0")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Print the score."""
    del command
    episodes = count("--episodes", options["episodes"], least=1)
    seed = count("--seed", options["seed"], least=0)
    from pes_rl.evaluation import evaluate
    from pes_rl.run_folder import plain

    result = evaluate(options["run"], episodes=episodes, seed=seed)
    if options["json"]:
        print(json.dumps(plain(result)))
        return
    mean, spread = result["episode_return_mean"], result["episode_return_std"]
    print(
        f"{result['policy']}: episode return {mean:.2f} +- {spread:.2f} "
        f"(mean and standard deviation of {result['episodes']} episodes)"
    )
