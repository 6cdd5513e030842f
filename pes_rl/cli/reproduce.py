"""``pes-rl reproduce``: the papers' experiments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError

HELP: str = "reproduce an experiment of the papers"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `reproduce`: which experiment, how large, and where its findings go."""
    parser.add_argument("name", metavar="NAME", nargs="?", default=None, help="see --list")
    parser.add_argument("--list", action="store_true", default=False, help="list the experiments")
    parser.add_argument(
        "--quick", action="store_true", default=False, help="a smaller variant, about a minute"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=None, help="default: runs/reproductions/NAME"
    )


def run(options: dict[str, Any], command: str) -> None:
    """Run the experiment and print its claims and where its findings are."""
    from pes_rl.reproductions.catalog import NAMES, load, reproduce

    if options["list"]:
        for name in NAMES:
            experiment = load(name)
            print(f"{name:22s} {experiment.description} [{experiment.minutes:g} min]")
        return
    if options["name"] is None:
        raise UserError(f"an experiment is needed: {', '.join(NAMES)}")

    folder = reproduce(options["name"], quick=options["quick"], out=options["out"], command=command)
    print((folder / "claims.md").read_text(), end="")
    print(f"\nfigures, result.json and claims.md: {folder}")
