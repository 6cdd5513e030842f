"""Flags made from the fields of ``Config``, for the commands that have them."""

from __future__ import annotations

import argparse
from typing import Any, get_args, get_origin

from pes_rl.config import Option
from pes_rl.config.values import Interval, flag, is_literal, required


def add_option(parser: argparse._ActionsContainer, name: str, option: Option, text: str) -> None:
    """Add the flag of one field of ``Config``, with ``text`` as its help."""
    text = text.replace("%", "%%")
    if option.kind is bool:
        parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, help=text)
    elif name == "hidden_sizes":
        parser.add_argument(flag(name), nargs="+", action=_Joined, metavar="INT", help=text)
    else:
        parser.add_argument(flag(name), metavar=_metavar(option.kind), help=text)


class _Joined(argparse.Action):
    """``--hidden-sizes 64 64`` and ``--hidden-sizes 64,64`` are the same text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, " ".join(values))


def _metavar(kind: Any) -> str:
    kind = required(kind)
    if get_origin(kind) is dict:
        return "JSON"
    if is_literal(kind):
        return "{" + ",".join(get_args(kind)) + "}"
    return {str: "NAME", int: "INT", float: "FLOAT", Interval: "INT|TIME"}[kind]
