"""The fields of a configuration: names, kinds, texts for ``--help``, defaults."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

from pes_rl.config.values import Interval
from pes_rl.envs.registry import Environment, resolve
from pes_rl.policies import KINDS, Activation, PolicyKind

Engine = Literal["mujoco", "gymnasium", "mjx", "brax", "jax"]
Backend = Literal["spring", "positional", "generalized", "mjx", "jax", "newton", "warp"]
Estimator = Literal["es", "truncated-es", "pes", "es-single", "gpes"]
Baseline = Literal["none", "quadratic", "mlp"]
Shaping = Literal["none", "running-std", "std", "centered-rank"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bfloat16"]

ESTIMATOR_NAMES: tuple[str, ...] = get_args(Estimator)
JAX_ENGINES: tuple[str, ...] = ("brax", "mjx", "jax")
_ONLINE = tuple(name for name in ESTIMATOR_NAMES if name != "es")
SUMMING = ("pes", "gpes")  # estimators that sum the noise of an episode
_SIZED = {name: kind for name, kind in KINDS.items() if kind.sizes}
_ACTIVATED = tuple(name for name, kind in KINDS.items() if kind.activated)
EVAL_EVERY = 50_000
LANES, LANES_FROM = 16, 1024  # lanes, and the pairs beside which these are less than a hundredth
_SIZES_HELP = ", ".join(f"{kind.sizes} ({name})" for name, kind in _SIZED.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a training run computes. Lengths are in env steps.

    Fields without a default depend on the others and are filled in by ``build_config``, so a saved
    configuration is complete. The texts are the help of the flags.
    """

    env: Annotated[
        str, "task: a name from `pes-rl envs`, a Gymnasium id, module:Id-v0, or module:function"
    ]
    env_kwargs: Annotated[
        dict[str, Any] | None, "what the environment is made with, as JSON: '{\"frame_skip\": 1}'"
    ] = None
    wrappers: Annotated[
        str | None, "module:function that is given the environment and returns it wrapped"
    ] = None
    engine: Annotated[Engine, "what steps the environment"]
    backend: Annotated[
        Backend | None, "physics of the engine, for those that have several (mjx, brax)"
    ]
    estimator: Annotated[Estimator, "gradient estimator"] = "es-single"
    seed: Annotated[int, "seed of every random stream"] = 0
    num_env_steps: Annotated[int, "training budget (env steps of live particles)"] = 1_000_000
    num_pairs: Annotated[int, "antithetic pairs N; 2N particles are stepped"] = 16
    perturb_std: Annotated[float, "standard deviation sigma of the parameter noise"] = 0.03
    perturb_std_decay_steps: Annotated[
        int | None,
        "env steps after which perturb_std is a half, after twice as many a third, and so on; "
        "constant if not given",
    ] = None
    segment_length: Annotated[int | None, "env steps K of an episode between two updates"]
    horizon: Annotated[int, "env steps T after which a training episode is cut"]
    noise_period: Annotated[
        int | None, "env steps between noise draws, a multiple of K (gpes only)"
    ] = None
    discount: Annotated[
        float, "what a loss counts less for each env step that it comes later (pes, gpes)"
    ] = 1.0
    trace_decay: Annotated[
        float, "what earlier noise counts less for each segment, lambda (pes, gpes)"
    ] = 1.0
    baseline: Annotated[
        Baseline, "what guesses the loss after a segment, to lower the variance (pes, gpes)"
    ] = "none"
    staggered: Annotated[bool, "start the pairs at different phases of the episode"]
    shaping: Annotated[Shaping, "how segment losses are rescaled before the update"] = "std"
    num_top_pairs: Annotated[int | None, "use only this many best pairs, as ARS does"] = None
    optimizer: Annotated[Optimizer, "optax optimiser"] = "sgd"
    learning_rate: Annotated[float, "step size at the start of the schedule"] = 3e-4
    learning_rate_schedule: Annotated[Schedule, "shape of the step size over env steps"] = (
        "constant"
    )
    schedule_env_steps: Annotated[
        int | None,
        "env steps at which the schedule ends, by default the budget (not for constant)",
    ] = None
    momentum: Annotated[float, "momentum of sgd, in [0, 1)"] = 0.0
    max_grad_norm: Annotated[float | None, "clip the gradient to this global norm"] = None
    weight_decay: Annotated[
        float, "weight decay; decoupled for adamw, else added to the gradient"
    ] = 0.0
    average_episodes: Annotated[
        float | None, "score and save theta's running mean over about this many full episodes"
    ] = None
    num_inputs: Annotated[
        int | None,
        "numbers of an observation that the policy gets, the first ones; all if not given",
    ] = None
    normalize_observations: Annotated[bool, "standardise observations by running statistics"] = True
    reward_shift: Annotated[float, "subtracted from each training reward (survival bonus)"] = 0.0
    policy: Annotated[PolicyKind, "policy architecture"] = "linear"
    hidden_sizes: Annotated[tuple[int, ...], _SIZES_HELP]
    activation: Annotated[Activation, f"activation of the {' and '.join(_ACTIVATED)}"] = "tanh"
    init_from: Annotated[
        str | None, "run or saved policy whose parameters and observation statistics are the start"
    ] = None
    retry_after: Annotated[
        int | None, "env steps after which a start that has come to nothing is begun anew"
    ] = None
    retry_below: Annotated[
        float | None, "return below which all of a start's evaluations are nothing, by then"
    ] = None
    num_threads: Annotated[
        int | None,
        "threads of the physics, worker processes of the gymnasium engine, or devices of a JAX "
        "engine on a CPU; one per core if not given",
    ] = None
    particle_chunk: Annotated[
        int | None, "antithetic pairs unrolled at a time on each device, to save memory"
    ] = None
    precision: Annotated[Precision, "number format of the policy's matrix products"] = "float32"
    eval_every: Annotated[int, "env steps between evaluations"]
    eval_episodes: Annotated[int, "episodes per evaluation"] = 10
    eval_lanes: Annotated[
        int,
        "unperturbed members that play episodes beside the population, for a score that costs next "
        "to nothing (JAX engines); 0 for none",
    ]
    checkpoint_every: Annotated[
        Interval, "env steps between checkpoints, or a time such as 10min"
    ] = 250_000
    keep_checkpoints: Annotated[int, "how many of the newest checkpoints are kept, 2 or more"] = 2
    log_every: Annotated[
        int, "env steps in which one update's metrics are kept, and those of every evaluation"
    ] = 2000

    @property
    def unroll_length(self) -> int:
        """Env steps of one update at most: K, or T for es, which has no segments."""
        return self.segment_length or self.horizon

    @property
    def num_particles(self) -> int:
        """Antithetic particles that are stepped: two for each pair."""
        return 2 * self.num_pairs

    @property
    def environment(self) -> Environment:
        """The task's entry in the registry; UserError if the engine does not have it."""
        return resolve(self.env, self.engine, self.env_kwargs, self.wrappers)

    @property
    def episode_length(self) -> int:
        """Env steps of a full episode at most: the task's time limit, or T where it has none."""
        return self.environment.horizon or self.horizon


# What the fields that depend on others default to, in words for --help.
DERIVED = {
    "engine": "brax for brax/ names, mujoco where it has the task, else gymnasium or jax",
    "backend": "jax for mjx, spring for brax",
    "segment_length": "50, at most the horizon; es has none",
    "horizon": "the task's time limit",
    "staggered": "on, except for es",
    "noise_period": "four segments",
    "eval_every": f"{EVAL_EVERY:_}; with evaluation lanes once in the time of 20 evaluations",
    "eval_lanes": f"{LANES} on JAX engines with {LANES_FROM} pairs or more, else 0",
    "hidden_sizes": ", ".join(
        f"{' '.join(map(str, kind.hidden_sizes))} for {name}" for name, kind in _SIZED.items()
    ),
}


# What no update depends on.
FREE = ("num_env_steps", "num_threads", "checkpoint_every", "keep_checkpoints", "log_every")

# What a resumed run may change. None of it alters what a checkpoint holds: the learning rate scales
# the optimiser's step outside of the optimiser, whose state knows no schedule.
CHANGEABLE = (
    *FREE,
    "learning_rate",
    "learning_rate_schedule",
    "schedule_env_steps",
    "perturb_std_decay_steps",
    "eval_every",
    "eval_episodes",
)


class Condition(NamedTuple):
    """A field means something where ``switch`` is in ``allowed``; elsewhere it is ``neutral``."""

    switch: str
    allowed: tuple[str, ...]
    neutral: Any


APPLIES: dict[str, Condition] = {
    "backend": Condition("engine", ("mjx", "brax"), None),
    "segment_length": Condition("estimator", _ONLINE, None),
    "staggered": Condition("estimator", _ONLINE, False),
    "noise_period": Condition("estimator", ("gpes",), None),
    "discount": Condition("estimator", SUMMING, 1.0),
    "trace_decay": Condition("estimator", SUMMING, 1.0),
    "baseline": Condition("estimator", SUMMING, "none"),
    "schedule_env_steps": Condition("learning_rate_schedule", ("linear", "cosine"), None),
    "momentum": Condition("optimizer", ("sgd",), 0.0),
    "hidden_sizes": Condition("policy", tuple(_SIZED), ()),
    "activation": Condition("policy", _ACTIVATED, "tanh"),
    "particle_chunk": Condition("engine", JAX_ENGINES, None),
    "precision": Condition("engine", JAX_ENGINES, "float32"),
    "eval_lanes": Condition("engine", JAX_ENGINES, 0),
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of ``Config`` as flags and files see it; ``kind`` is its type."""

    kind: Any
    help: str
    default: Any = dataclasses.MISSING


def _options() -> dict[str, Option]:
    hints = get_type_hints(Config, include_extras=True)
    return {
        field.name: Option(*get_args(hints[field.name]), default=field.default)
        for field in dataclasses.fields(Config)
    }


OPTIONS = _options()
