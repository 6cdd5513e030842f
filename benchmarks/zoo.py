"""Maintain the policies that ship with the package.

``python -m benchmarks.zoo add RUN ...`` puts the best policy of each run into ``pes_rl/zoo``,
scored on 100 episodes with seeds of their own; ``python -m benchmarks.zoo check`` plays all
episodes of all cards again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import cards
from pes_rl import zoo
from pes_rl.errors import UserError
from pes_rl.runtime import single_threaded_math


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("benchmarks.zoo")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("add").add_argument("run", nargs="+", type=Path)
    commands.add_parser("check")
    args = parser.parse_args(argv)
    with single_threaded_math():
        if args.command == "add":
            return _add(args.run)
        problems = {name: cards.check(name) for name in zoo.names()}
    for name, problem in problems.items():
        print(problem or f"zoo/{name}: as its card says")
    return int(any(problems.values()))


def _add(runs: list[Path]) -> int:
    try:
        for run in runs:
            folder = cards.add(run)
            print((folder / zoo.PAGE).read_text())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
