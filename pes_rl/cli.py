"""The command line: turns flags into a configuration, calls one function, maps errors to codes.

The flags of ``train`` are made from the fields of ``Config`` and their values are read by the same
rules as YAML. They are plain argparse: what is wrong has to come out as one short line, and only
the flags that were typed may override a preset. Imports nothing heavy at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict
from pathlib import Path
from typing import Any, NoReturn, get_args

import pes_rl
from pes_rl.config import DERIVED, OPTIONS, Option, build_config
from pes_rl.config_values import is_literal, parse_value
from pes_rl.envs.registry import TASKS
from pes_rl.errors import UserError, suggest

_RESUMABLE = ("num_env_steps", "num_threads", "checkpoint_every")
_PRECEDENCE = """\
Flags win over --config, which wins over the preset of the environment and estimator
(configs/ENV.yaml), which wins over the defaults shown here. Counts may be written 2e6 or
500_000; "none" unsets an optional value."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except UserError as error:
        message = "\n".join(str(error).strip().splitlines()[:3])
        print(f"pes-rl: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pes-rl envs | head -1`; keep Python from flushing into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


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
    options = vars(parsed)
    run = options.pop("run_command")
    command = shlex.join(["pes-rl", *arguments])
    run(options, command)
    return 0


def _known(names: Any) -> str:
    return f"; choose from {', '.join(names)}"


def _refuse(argument: str, parser: argparse.ArgumentParser) -> NoReturn:
    flag = argument.partition("=")[0]
    if flag.startswith("-"):
        known = list(parser._option_string_actions)
        raise UserError(f"unknown flag {flag!r}{suggest(flag, known)} (see {parser.prog} --help)")
    raise UserError(f"unexpected argument {argument!r} (see {parser.prog} --help)")


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


def _train(options: dict[str, Any], command: str) -> None:
    run_dir, config_file, resume = (options.pop(k, None) for k in ("run_dir", "config", "resume"))
    if resume is None:
        config = build_config(options, config_file)
        from pes_rl.run import train_from_config

        train_from_config(config, run_dir, command)
        return
    refused = [name for name in options if name not in _RESUMABLE]
    refused += [n for n, v in (("run_dir", run_dir), ("config", config_file)) if v is not None]
    if refused:
        allowed = ", ".join(_flag(name) for name in _RESUMABLE)
        raise UserError(
            f"{_flag(refused[0])} cannot change when resuming; "
            f"remove it (beside --resume only {allowed} may be given)"
        )
    changes = {name: _count(_flag(name), text, least=1) for name, text in options.items()}
    from pes_rl.run import resume as resume_run

    resume_run(resume, **{name: changes.get(name) for name in _RESUMABLE}, command=command)


def _count(flag: str, text: str, least: int) -> int:
    try:
        count = parse_value(int, text)
    except ValueError as expected:
        raise UserError(f"{flag} must be {expected}, not {text!r}") from None
    if count < least:
        raise UserError(f"{flag} must be at least {least}, not {count}")
    return count


def _evaluate(options: dict[str, Any], command: str) -> None:
    del command
    episodes = _count("--episodes", options["episodes"], least=1)
    seed = _count("--seed", options["seed"], least=0)
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


def _envs(options: dict[str, Any], command: str) -> None:
    del command
    if options["json"]:
        print(json.dumps([asdict(task) for task in TASKS.values()], indent=2))
        return
    row = "{:<24} {:<20} {:>5} {:>4} {:>8} {:>10}"
    print(row.format("environment", "engines", "obs", "act", "horizon", "solved at"))
    for t in TASKS.values():
        solved = "-" if t.threshold is None else f"{t.threshold:g}"
        engines = ", ".join(t.engines)
        print(row.format(t.name, engines, t.observation_size, t.action_size, t.horizon, solved))
    print("Any other Gymnasium id with a Box observation trains on the gymnasium engine.")


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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    texts = {
        "train": "train a policy, or resume a run",
        "evaluate": "score a trained policy in the official environment",
        "envs": "list what can be trained",
    }
    made: dict[str, argparse.ArgumentParser] = {
        name: commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, text in texts.items()
    }
    _add_train_flags(made["train"])
    made["evaluate"].add_argument("run", metavar="RUN", type=Path, help="run folder or policy")
    made["evaluate"].add_argument("--episodes", metavar="INT", default="100", help="default: 100")
    made["evaluate"].add_argument("--seed", metavar="INT", default="0", help="default: 0")
    for name, run in (("train", _train), ("evaluate", _evaluate), ("envs", _envs)):
        made[name].set_defaults(run_command=run)
        if name != "train":
            _add_json_flag(made[name])
    return parser, made


def _add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def _add_train_flags(parser: argparse.ArgumentParser) -> None:
    parser.usage = "pes-rl train --env ENV [flags]\n       pes-rl train --resume RUN [flags]"
    parser.epilog = _PRECEDENCE
    parser.add_argument(
        "--run-dir", metavar="DIR", type=Path, help="folder of the run, new or empty"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML, e.g. a run's config.yaml"
    )
    parser.add_argument("--resume", metavar="RUN", type=Path, help="continue this run")
    for name, option in OPTIONS.items():
        text = f"{option.help}{_default_text(name, option)}".replace("%", "%%")
        if option.kind is bool:
            parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction, help=text)
        elif name == "hidden_sizes":
            parser.add_argument(_flag(name), nargs="+", action=_Joined, metavar="INT", help=text)
        else:
            parser.add_argument(_flag(name), metavar=_metavar(option.kind), help=text)


class _Joined(argparse.Action):
    """``--hidden-sizes 64 64`` and ``--hidden-sizes 64,64`` are the same text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, " ".join(values))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default_text(name: str, option: Option) -> str:
    if name == "env":
        return " (required)"
    default = DERIVED.get(name, option.default)
    if default is MISSING or default is None:
        return ""
    if isinstance(default, bool):
        return " (default: on)" if default else " (default: off)"
    return f" (default: {default:_})" if isinstance(default, int) else f" (default: {default})"


def _metavar(kind: Any) -> str:
    if is_literal(kind):
        return "{" + ",".join(get_args(kind)) + "}"
    scalar = next((k for k in get_args(kind) if k is not type(None)), kind)
    return {str: "NAME", int: "INT", float: "FLOAT"}[scalar]


if __name__ == "__main__":
    sys.exit(main())
