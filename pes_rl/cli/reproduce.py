"""``pes-rl reproduce``: the papers' experiments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError

HELP: str = "reproduce an experiment of the papers"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `reproduce`: which experiment, how large, and where its findings go."""
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", default=None, help="see --list")
    add(
        "--list",
        action="store_true",
        default=False,
        help="list the experiments; with --size paper the parts of one, with their cost",
    )
    add(
        "--size",
        metavar="{quick,reduced,paper}",
        default="reduced",
        help="quick: about a minute; paper: as the papers have it, in parts (default: reduced)",
    )
    add("--part", metavar="PART", default=None, help="of --size paper: this part alone")
    add(
        "--num-updates",
        metavar="N",
        type=_positive,
        default=None,
        help="of --size paper: stop a part after update N; the same command goes on",
    )
    add(
        "--particle-chunk",
        metavar="PAIRS",
        type=_positive,
        default=None,
        help="of --size paper: unroll so many pairs at a time, in less memory",
    )
    add("--out", metavar="DIR", type=Path, default=None, help="default: runs/reproductions/NAME")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"needs a positive whole number, not {text!r}")


def run(options: dict[str, Any], command: str) -> None:
    """Run the experiment and print its claims and where its findings are."""
    from pes_rl.reproductions.catalog import NAMES, costs, default_folder, load, reproduce
    from pes_rl.runs.signals import leave_if, stop_signals

    name, size, out = options["name"], options["size"], options["out"]
    if options["list"] and name is not None and size == "paper":
        print("\n".join(costs(name, out or default_folder(name, size))))
        return
    if options["list"]:
        for known in NAMES:
            experiment = load(known)
            print(f"{known:22s} {experiment.description} [{experiment.minutes:g} min]")
        return
    if name is None:
        raise UserError(f"an experiment is needed: {', '.join(NAMES)}")

    asked = {key: options[key] for key in ("size", "out", "part", "num_updates", "particle_chunk")}
    if size != "paper":  # there is nothing to save in between
        folder = reproduce(name, command=command, **asked)
    else:
        with stop_signals() as stop:
            folder = reproduce(name, command=command, stop=stop, **asked)
        leave_if(stop)
    print((folder / "claims.md").read_text(), end="")
    print(f"\nfigures, result.json and claims.md: {folder}")
