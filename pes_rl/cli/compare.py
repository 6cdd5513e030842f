"""``pes-rl compare``: estimators over environments and seeds, with intervals and plots."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pes_rl.cli.parsing import add_option
from pes_rl.comparison.plan import DEFAULT_ESTIMATORS, FIXED
from pes_rl.config import OPTIONS

HELP: str = "compare estimators over environments and seeds"

_EPILOG = """\
Run the same command again to continue after an interruption, or with more seeds, env steps,
estimators or environments to extend: what DIR holds is kept. DIR/summary.md tells the result."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `compare`: what to compare, then the options of every run."""
    parser.usage = "pes-rl compare --env ENV [ENV ...] --out DIR [flags]"
    parser.epilog = _EPILOG
    parser.add_argument("--env", nargs="+", metavar="NAME", required=True, help="environments")
    usual = f"default: {' '.join(DEFAULT_ESTIMATORS)}"
    parser.add_argument("--estimators", nargs="+", metavar="NAME", help=usual)
    parser.add_argument("--seeds", metavar="INT", help="runs of each (default: 5)")
    parser.add_argument("--first-seed", metavar="INT", help="default: 0")
    parser.add_argument(
        "--num-env-steps",
        nargs="+",
        metavar="INT",
        help="budget of a run, one for all environments or one for each (default: the presets')",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder of runs and results"
    )
    parser.add_argument(
        "--episodes",
        metavar="INT",
        help="unseen episodes that score each run's best policy (default: 100)",
    )
    parser.add_argument(
        "--workers", metavar="INT", help="runs at the same time (default: one per core)"
    )
    parser.add_argument(
        "--timing",
        action=argparse.BooleanOptionalAction,
        help="measure speeds for the wall-clock, one by one in the end (default: on)",
    )
    group = parser.add_argument_group("options of every run, as in pes-rl train")
    for name, option in OPTIONS.items():
        if name in FIXED:
            continue
        add_option(group, name, option, option.help)


def run(options: dict[str, Any], command: str) -> None:
    """Run the comparison and print where its summary is."""
    del command  # the summary names the command of this plan, whatever folder it was typed in
    from pes_rl.comparison.api import compare

    result = compare(**options)
    print(f"{result.path / 'summary.md'}")
