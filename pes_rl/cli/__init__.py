"""The command line: finds the command, calls its one function, maps errors to exit codes.

Plain argparse: what is wrong has to come out as one short line, and only the flags that were typed
may override a preset. Neither this package nor its commands import anything heavy at the top.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Protocol

import pes_rl
from pes_rl import console
from pes_rl.cli import compare, data, envs, evaluate, render, reproduce, train
from pes_rl.cli.completion import Completion
from pes_rl.errors import UserError, suggest


class Command(Protocol):
    """A module of this package, or the like: help, flags, and what they are given to."""

    HELP: str

    def add_flags(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's flags."""

    def run(self, options: dict[str, Any], command: str, /) -> None:
        """Do what the flags in ``options`` ask for; ``command`` is the line as it was typed."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "render": render,
    "envs": envs,
    "reproduce": reproduce,
    "data": data,
    "completion": Completion(lambda: _parsers()[1]),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except UserError as error:
        message = "\n".join(str(error).strip().splitlines()[:3])
        console.say(f"pes-rl: error: {message}")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pes-rl envs | head -1`; keep Python from flushing into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a disk that is full, or has gone
        place = f" ({error.filename})" if error.filename else ""
        console.say(f"pes-rl: error: {UserError(f'{error.strerror or error}{place}')}")
        return 2


def _run(arguments: list[str]) -> int:
    parser, commands = _parsers()
    if not arguments:
        raise UserError(f"a command is needed: {', '.join(commands)} (see pes-rl --help)")
    first = arguments[0]
    if not first.startswith("-") and first not in commands:
        raise UserError(f"unknown command {first!r}{suggest(first, commands) or _known(commands)}")
    try:
        parsed, extra = parser.parse_known_args(_attach_negative_values(arguments))
    except SystemExit as done:  # argparse ends --help and --version this way
        return int(done.code or 0)
    if extra:
        _refuse(extra[0], commands.get(first, parser))
    command = shlex.join(["pes-rl", *arguments])
    COMMANDS[first].run(vars(parsed), command)
    return 0


# What a flag is called in other tools, or in another command of this one.
_ELSEWHERE = {
    "--lr": "--learning-rate",
    "--sigma": "--perturb-std",
    "--timesteps": "--num-env-steps",
    "--total-timesteps": "--num-env-steps",
    "--num-timesteps": "--num-env-steps",
    "--num-threads": "--workers",
    "--algo": "--estimator",
}


def _known(names: Iterable[str]) -> str:
    return f"; choose from {', '.join(names)}"


def _refuse(argument: str, parser: argparse.ArgumentParser) -> NoReturn:
    flag = argument.partition("=")[0]
    if flag.startswith("-"):
        known = [name for name in parser._option_string_actions if name.startswith("--")]
        raise UserError(f"unknown flag {flag!r}{_nearest(flag, known)} (see {parser.prog} --help)")
    raise UserError(f"unexpected argument {argument!r} (see {parser.prog} --help)")


def _nearest(flag: str, known: list[str]) -> str:
    """What other tools call ``flag``, else a flag that ends like it, else one that looks alike."""
    same = [_ELSEWHERE.get(flag, ""), *(name for name in known if name.endswith(flag[1:]))]
    for name in same:
        if name in known:
            return f"; did you mean '{name}'?"
    bare = suggest(flag.lstrip("-"), (name[2:] for name in known if name != "--help"))
    return bare.replace("'", "'--", 1)


def _attach_negative_values(arguments: list[str]) -> list[str]:
    """``--flag -1e-3`` as ``--flag=-1e-3``: argparse takes exponents, -inf and -nan for flags."""
    joined: list[str] = []
    for argument in arguments:
        negative = re.fullmatch(r"-(\.?\d.*[e_].*|inf|infinity|nan)", argument, re.IGNORECASE)
        if negative and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing a usage text of twenty lines and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"pes-rl {pes_rl.__version__}")  # read here only: looking it up costs milliseconds
        parser.exit()


def _parsers() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        "pes-rl",
        description="Train control policies with online evolution strategies.",
        epilog="Start with: pes-rl train --env HalfCheetah",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    made: dict[str, argparse.ArgumentParser] = {}
    for name, module in COMMANDS.items():
        made[name] = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_flags(made[name])
    return parser, made
