"""The options of a run as keyword arguments, for type checkers: `Config`'s fields, none required.

`tests/test_typing.py` holds these types to those of ``Config``. Values may be text here too, as
flags give it, which type checkers are not told: text hides mistakes that they would find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pes_rl.config.fields import (
    Backend,
    Baseline,
    Engine,
    Estimator,
    Optimizer,
    Precision,
    Schedule,
    Shaping,
)
from pes_rl.config.values import Interval
from pes_rl.policies import Activation, PolicyKind


class _Changes(TypedDict, total=False):
    """What a resumed run may change, and the runs of a comparison may have in common."""

    learning_rate: float
    learning_rate_schedule: Schedule
    schedule_env_steps: int | None
    perturb_std_decay_steps: int | None
    eval_every: int
    eval_episodes: int
    checkpoint_every: Interval
    keep_checkpoints: int
    log_every: int


class Changes(_Changes, total=False):
    """What a resumed run may change."""

    num_env_steps: int
    num_threads: int | None


class Options(_Changes, total=False):
    """What all runs of a comparison may have in common."""

    env_kwargs: dict[str, Any] | None
    wrappers: str | None
    engine: Engine
    backend: Backend | None
    num_pairs: int
    perturb_std: float
    segment_length: int | None
    horizon: int
    noise_period: int | None
    discount: float
    trace_decay: float
    baseline: Baseline
    staggered: bool
    shaping: Shaping
    num_top_pairs: int | None
    optimizer: Optimizer
    momentum: float
    max_grad_norm: float | None
    weight_decay: float
    average_episodes: float | None
    num_inputs: int | None
    normalize_observations: bool
    reward_shift: float
    retry_after: int | None
    retry_below: float | None
    policy: PolicyKind
    hidden_sizes: Sequence[int]
    activation: Activation
    particle_chunk: int | None
    precision: Precision
    eval_lanes: int


class Overrides(Options, total=False):
    """What a new run may have beside its environment."""

    estimator: Estimator
    seed: int
    num_env_steps: int
    num_threads: int | None
    init_from: str | None
