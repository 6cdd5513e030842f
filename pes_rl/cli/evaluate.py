"""``pes-rl evaluate``: score a saved policy."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import count
from pes_rl.console import say
from pes_rl.errors import UserError

HELP: str = "score a trained policy in the official environment"

_NOISE = """\
Noise is Gaussian, independent in every number and step, and drawn from each episode's seed. That of
observations is in units of the deviation that the policy's normaliser has of each number (of the
number itself without one), that of actions in units of half of each action's range (of the action
itself where that has no bounds), with the sum clipped to the range."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `evaluate`: the policy, what it plays, and what becomes of the score."""
    parser.epilog = _NOISE
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="run folder, policy folder or zoo/NAME"
    )
    parser.add_argument("--episodes", metavar="INT", default="100", help="default: 100")
    parser.add_argument(
        "--seed", metavar="INT", default="0", help="seed of the first episode, default: 0"
    )
    parser.add_argument(
        "--env-kwargs",
        metavar="JSON",
        help="make the environment with these too, beside those of training: '{\"frame_skip\": 1}'",
    )
    parser.add_argument(
        "--observation-noise", metavar="STD", help="noise on observations, default: 0"
    )
    parser.add_argument("--action-noise", metavar="STD", help="noise on actions, default: 0")
    parser.add_argument("--out", metavar="FILE", type=Path, help="a .csv file, a row per episode")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(options: dict[str, Any], command: str) -> None:
    """Play the episodes and print the score."""
    del command
    episodes = count("--episodes", options["episodes"], least=1, most=MOST_EPISODES)
    seed = count("--seed", options["seed"], least=0)
    out = options.get("out")
    if out is not None:
        _check(out)
    from pes_rl.evaluation import evaluate
    from pes_rl.storage.files import plain

    names = ("env_kwargs", "observation_noise", "action_noise")
    conditions = {name: options[name] for name in names if options.get(name) is not None}
    result = evaluate(options["run"], episodes=episodes, seed=seed, **conditions)
    if out is not None:
        _write(out, result["per_episode"])
    print(json.dumps(plain(result)) if options["json"] else _text(result))
    if result["version_changes"]:
        changes = ", ".join(result["version_changes"])
        say(f"pes-rl: note: versions differ from those of training ({changes}); scores may too")


def _check(out: Path) -> None:
    """UserError where ``out`` could not be written, before anything is played."""
    if out.suffix.lower() != ".csv":
        raise UserError(f"--out must be a .csv file, not {str(out)!r}")
    if out.is_dir() or not out.parent.is_dir():
        problem = "it is a folder" if out.is_dir() else f"{out.parent} is no folder"
        raise UserError(f"cannot write {out}: {problem}")


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    from pes_rl.storage.files import write_text_atomic

    text = io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)  # None is an empty field
    try:
        write_text_atomic(out, text.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error


def _text(result: dict[str, Any]) -> str:
    mean, spread = result["episode_return_mean"], result["episode_return_std"]
    least, most = result["episode_return_min"], result["episode_return_max"]
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
    return "\n".join(
        [
            f"{result['policy']} in {result['environment']}{_conditions(result)}",
            f"episode return {mean:.2f} +- {spread:.2f} (standard deviation), "
            f"{least:.2f} to {most:.2f}; {interval}",
            *_verdicts(result),
            f"episode length {result['episode_length_mean']:.1f}; {played}, deterministic policy",
        ]
    )


def _conditions(result: dict[str, Any]) -> str:
    """What the environment was made with, and the noise, where there was any."""
    text = f" with {json.dumps(kwargs)}" if (kwargs := result["env_kwargs"]) else ""
    for what in ("observation", "action"):
        if deviation := result[f"{what}_noise"]:
            text += f", {what} noise {deviation:g}"
    return text


def _verdicts(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["solved"] is not None:
        lines.append(
            f"{'solved' if result['solved'] else 'not solved'}: "
            f"a mean of {result['threshold']:g} counts as solved"
        )
    if (rate := result["success_rate"]) is not None:
        lines.append(f"success rate {100 * rate:.1f} %")
    return lines
