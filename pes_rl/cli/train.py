"""``pes-rl train``: the flags are the fields of ``Config``, read by the same rules as YAML."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pes_rl.cli.parsing import add_option
from pes_rl.config import DERIVED, OPTIONS, Option, build_config, parse_changes
from pes_rl.config.values import count, flag
from pes_rl.errors import UserError
from pes_rl.storage.files import as_path

if TYPE_CHECKING:
    from pes_rl.training.processes import Processes

HELP: str = "train a policy, or resume a run"

_HOOKS = ("stop_at", "track")
_PLACE = ("coordinator", "num_processes", "process_id")

# The fields of `Config` in the order of --help.
_FIRST = ("env", "estimator", "seed", "num_env_steps")
_SECOND = ("num_pairs", "perturb_std", "learning_rate")
_ENDING = "evaluation, what is kept, and when to stop"
_GROUPS = {
    "environment": ("env_kwargs", "wrappers", "engine", "backend", "horizon", "reward_shift"),
    "gradient estimate": (
        "perturb_std_decay_steps",
        "segment_length",
        "staggered",
        "shaping",
        "num_top_pairs",
        "noise_period",
        "discount",
        "trace_decay",
        "baseline",
    ),
    "optimiser": (
        "optimizer",
        "learning_rate_schedule",
        "schedule_env_steps",
        "momentum",
        "max_grad_norm",
        "weight_decay",
        "average_episodes",
        "retry_after",
        "retry_below",
    ),
    "policy": (
        "policy",
        "hidden_sizes",
        "activation",
        "num_inputs",
        "normalize_observations",
        "init_from",
    ),
    _ENDING: (
        "eval_every",
        "eval_episodes",
        "eval_lanes",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
    ),
    "speed and memory": ("num_threads", "particle_chunk", "precision"),
}

_EXAMPLE = "localhost:12345"
_PRECEDENCE = """\
Flags win over --config, which wins over the preset of the environment and estimator
(configs/ENV.yaml), which wins over the defaults shown here. Counts may be written 2e6 or
500_000; "none" unsets an optional value."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `train`: every field of ``Config``, the run, and the processes."""
    parser.usage = "pes-rl train --env ENV [flags]\n       pes-rl train --resume RUN [flags]"
    parser.epilog = _PRECEDENCE
    common = parser.add_argument_group("what most runs are given")
    groups = {title: parser.add_argument_group(title) for title in _GROUPS}
    places = {name: groups[title] for title, names in _GROUPS.items() for name in names}
    for name in _FIRST:
        _add_field(common, name)
    common.add_argument(
        "--run-dir", metavar="DIR", type=Path, help="folder of the run, new or empty"
    )
    common.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML, e.g. a run's config.yaml"
    )
    common.add_argument("--resume", metavar="RUN", type=Path, help="continue this run")
    for name in _SECOND:
        _add_field(common, name)
    ending = groups[_ENDING]
    ending.add_argument(
        "--stop-at",
        metavar="RETURN",
        help="stop once two evaluations of a policy reach it; 'solved' is the task's threshold",
    )
    ending.add_argument(
        "--track", metavar="{wandb,mlflow}", help="send the metrics to this tracker too"
    )
    for name, place in places.items():
        _add_field(place, name)
    group = parser.add_argument_group("several processes, each started with the same flags")
    group.add_argument(
        "--distributed",
        action="store_true",
        help="find the other processes of this SLURM, Open MPI or Kubernetes job",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where the first process can be reached"
    )
    group.add_argument("--num-processes", metavar="INT", help="how many there are")
    group.add_argument("--process-id", metavar="INT", help="which one this is, the first is 0")


def _add_field(group: argparse._ActionsContainer, name: str) -> None:
    option = OPTIONS[name]
    add_option(group, name, option, f"{option.help}{_default_text(name, option)}")


def run(options: dict[str, Any], command: str) -> None:
    """Train a new run, or continue one, in this process or together with others."""
    place = _place(options)
    hooks = {name: options.pop(name) for name in _HOOKS if name in options}
    if "resume" in options:
        run = options.pop("resume")
        changes = parse_changes(options)
        from pes_rl.runs.run import resume

        work = partial(resume, run, command=command, **hooks, **changes)
        _start(work, place, {"resume": True, **hooks, **changes})
        return
    run_dir, config_file = (options.pop(name, None) for name in ("run_dir", "config"))
    config = build_config(options, config_file and as_path(config_file))
    from pes_rl.runs.run import train_from_config

    work = partial(train_from_config, config, run_dir, command, **hooks)
    _start(work, place, {"resume": False, **hooks, **asdict(config)})


class _Work(Protocol):
    """A run to start or to continue, in this process alone or with its share of ``processes``."""

    def __call__(self, *, processes: Processes = ...) -> object: ...


# Where this process belongs: the coordinator's address, the number of processes, which one it is.
_Address = tuple[str | None, int | None, int | None]


def _start(work: _Work, place: _Address | None, asked: dict[str, Any]) -> None:
    """Do ``work`` here, together with the other processes, of whom the same is ``asked``."""
    if place is None:
        work()
        return
    from pes_rl.training.together import Rendezvous, together

    together(lambda processes: work(processes=processes), Rendezvous(*place), asked)


def _place(options: dict[str, Any]) -> _Address | None:
    """Take the flags of several processes out of ``options``; None if this process is alone."""
    detected = options.pop("distributed", False)
    texts = {name: options.pop(name, None) for name in _PLACE}
    given = [name for name, text in texts.items() if text is not None]
    if not given:
        return (None, None, None) if detected else None
    missing = [name for name in _PLACE if name not in given]
    if missing:
        raise UserError(
            f"{flag(given[0])} needs {flag(missing[0])} too; "
            "use --coordinator HOST:PORT --num-processes N --process-id I"
        )
    coordinator = str(texts["coordinator"])
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator must be HOST:PORT, not {coordinator!r}; try {_EXAMPLE}")
    size = count("--num-processes", str(texts["num_processes"]), least=1)
    index = count("--process-id", str(texts["process_id"]), least=0)
    if index >= size:
        raise UserError(
            f"--process-id {index} must be below --num-processes {size}; the first one is 0"
        )
    return coordinator, size, index


def _default_text(name: str, option: Option) -> str:
    if name == "env":
        return " (required)"
    default = DERIVED.get(name, option.default)
    if default is MISSING or default is None:
        return ""
    if isinstance(default, bool):
        return " (default: on)" if default else " (default: off)"
    return f" (default: {default:_})" if isinstance(default, int) else f" (default: {default})"
