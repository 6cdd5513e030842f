"""What a configuration must satisfy: ranges, and fields that fit one another."""

from __future__ import annotations

import math
from typing import Any

from pes_rl.config.fields import APPLIES, OPTIONS, Config
from pes_rl.envs.registry import check_backend
from pes_rl.errors import UserError, shown
from pes_rl.policies import KINDS

_MAY_BE_ZERO = ("seed", "momentum", "weight_decay", "reward_shift", "trace_decay", "eval_lanes")
_ANY = ("reward_shift", "retry_below")
# More than anybody has use for, and less than would end in an error of somebody else's.
MOST_EPISODES = 10_000_000
_MOST = {"num_pairs": 10_000_000, "eval_episodes": MOST_EPISODES, "num_threads": 100_000}
_MOST |= {"eval_lanes": 100_000}
_MOST_UNITS = 10_000_000  # of a hidden layer
_MAY_BE_NONE = ("particle_chunk",)


def validate(config: Config) -> None:
    """Raise ``UserError`` where fields are out of range or contradict each other."""
    _check_ranges(config)
    check_backend(config.environment, config.engine, config.backend)
    _check_choices(config)
    _check_episode(config)
    if (config.retry_after is None) != (config.retry_below is None):
        given, other = ("after", "below") if config.retry_below is None else ("below", "after")
        raise UserError(
            f"retry_{given} {getattr(config, f'retry_{given}')} needs retry_{other}; "
            f"give --retry-{other}"
        )
    if config.retry_after is not None and config.init_from is not None:
        raise UserError(
            f"retry_after {config.retry_after} would begin anew without init_from "
            f"{config.init_from}; remove one of them"
        )
    if config.num_top_pairs is not None and config.num_top_pairs > config.num_pairs:
        raise UserError(
            f"num_top_pairs {config.num_top_pairs} is more than num_pairs {config.num_pairs}; "
            "lower it, or set it to none to use every pair"
        )


def check_range(name: str, value: Any) -> None:
    """Raise ``UserError`` where a number is none that the field may be, whatever the others are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    zero, default = name in _MAY_BE_ZERO, OPTIONS[name].default
    in_range = value > 0 or (zero and value == 0) or name in _ANY
    if not (in_range and math.isfinite(value)):
        fix = f"; try {default}" if isinstance(default, int | float) else ""
        kind = "0 or more" if zero else "positive"
        kind = "a number" if name in _ANY else kind
        raise UserError(f"{name} must be finite and {kind}, not {value}{fix}")
    if value > _MOST.get(name, math.inf):
        raise UserError(f"{name} must be at most {_MOST[name]}, not {value}")


def _check_ranges(config: Config) -> None:
    for name in OPTIONS:
        check_range(name, getattr(config, name))
    if config.keep_checkpoints < 2:
        raise UserError("keep_checkpoints must be at least 2, for the newest may be damaged, not 1")
    if config.seed >= 2**32:
        raise UserError(f"seed must be below 2**32, not {config.seed}")
    if config.momentum >= 1:
        raise UserError(f"momentum must be below 1, not {config.momentum}; try 0.9")
    for name in ("discount", "trace_decay"):
        if getattr(config, name) > 1:
            raise UserError(f"{name} must be at most 1, not {getattr(config, name)}")
    if any(not 0 < size <= _MOST_UNITS for size in config.hidden_sizes):
        sizes = shown(list(config.hidden_sizes))
        raise UserError(f"hidden_sizes must be positive, at most {_MOST_UNITS}, not {sizes}")


def _check_choices(config: Config) -> None:
    """Raise UserError for an option that would silently do nothing, or one that is missing."""
    for name, (switch, allowed, neutral) in APPLIES.items():
        value, choice = getattr(config, name), getattr(config, switch)
        if choice not in allowed and value != neutral:
            raise UserError(
                f"{name} {value} has no effect with {switch} {choice!r}; remove it, "
                f"or choose {switch} {' or '.join(allowed)}"
            )
        if choice in allowed and value is None and name not in _MAY_BE_NONE:
            raise UserError(f"{switch} {choice!r} needs {name}; give --{name.replace('_', '-')}")
    num_sizes, sizes = KINDS[config.policy].num_sizes, shown(list(config.hidden_sizes))
    if len(config.hidden_sizes) not in num_sizes:
        raise UserError(
            f"policy {config.policy!r} cannot have hidden_sizes {sizes}; "
            f"give one size{' or more' if len(num_sizes) > 1 else ''}"
        )


def _check_episode(config: Config) -> None:
    limit = config.environment.horizon
    segment, horizon, period = config.segment_length, config.horizon, config.noise_period
    if limit is not None and horizon > limit:
        raise UserError(
            f"horizon {horizon} is beyond the time limit of {config.env!r}, {limit} env steps; "
            f"use at most {limit}"
        )
    if segment is None:
        return
    if segment > horizon:
        raise UserError(
            f"segment_length {segment} is longer than horizon {horizon}; "
            f"use a segment_length of at most {horizon}"
        )
    if period is not None and (period % segment or period > horizon):
        raise UserError(
            f"noise_period {period} must be a multiple of segment_length {segment} and at most "
            f"horizon {horizon}; try {max(horizon // segment // 2, 1) * segment}"
        )
