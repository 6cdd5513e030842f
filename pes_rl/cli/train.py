"""``pes-rl train``: the flags are the fields of ``Config``, read by the same rules as YAML."""

from __future__ import annotations

import argparse
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from pes_rl.cli.parsing import add_option
from pes_rl.config import DERIVED, OPTIONS, Option, build_config
from pes_rl.config_values import count, flag
from pes_rl.errors import UserError

HELP = "train a policy, or resume a run"

_RESUMABLE = ("num_env_steps", "num_threads", "checkpoint_every")
_PRECEDENCE = """\
Flags win over --config, which wins over the preset of the environment and estimator
(configs/ENV.yaml), which wins over the defaults shown here. Counts may be written 2e6 or
500_000; "none" unsets an optional value."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for every field of ``Config``, and where the run and its settings are."""
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
        add_option(parser, name, option, f"{option.help}{_default_text(name, option)}")


def run(options: dict[str, Any], command: str) -> None:
    """Train a new run, or continue one."""
    run_dir, config_file, resume = (options.pop(k, None) for k in ("run_dir", "config", "resume"))
    if resume is None:
        config = build_config(options, config_file)
        from pes_rl.run import train_from_config

        train_from_config(config, run_dir, command)
        return
    refused = [name for name in options if name not in _RESUMABLE]
    refused += [n for n, v in (("run_dir", run_dir), ("config", config_file)) if v is not None]
    if refused:
        allowed = ", ".join(flag(name) for name in _RESUMABLE)
        raise UserError(
            f"{flag(refused[0])} cannot change when resuming; "
            f"remove it (beside --resume only {allowed} may be given)"
        )
    changes = {name: count(flag(name), text, least=1) for name, text in options.items()}
    from pes_rl.run import resume as resume_run

    resume_run(resume, **{name: changes.get(name) for name in _RESUMABLE}, command=command)


def _default_text(name: str, option: Option) -> str:
    if name == "env":
        return " (required)"
    default = DERIVED.get(name, option.default)
    if default is MISSING or default is None:
        return ""
    if isinstance(default, bool):
        return " (default: on)" if default else " (default: off)"
    return f" (default: {default:_})" if isinstance(default, int) else f" (default: {default})"
