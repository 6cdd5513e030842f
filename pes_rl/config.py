"""One flat configuration: defaults, presets, YAML files and flags all describe a ``Config``.

A YAML key is the field's name; a flag is the same name with hyphens. Later sources win: the
defaults below, the environment's preset, the ``--config`` file, the flags. Imports nothing heavy,
since ``pes-rl --help`` is made from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pes_rl.config_values import is_literal, is_null, parse_value, read_yaml, required
from pes_rl.envs.registry import TASKS, Environment, check_backend, default_backend, resolve
from pes_rl.errors import UserError, suggest
from pes_rl.run_folder import write_text_atomic

Engine = Literal["mujoco", "gymnasium", "mjx", "brax"]
Backend = Literal["spring", "positional", "generalized", "mjx", "jax", "newton", "warp"]
Estimator = Literal["es", "truncated-es", "pes", "es-single", "gpes"]
Shaping = Literal["none", "running-std", "std", "centered-rank"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bfloat16"]

ESTIMATORS: tuple[str, ...] = get_args(Estimator)
JAX_ENGINES: tuple[str, ...] = ("brax", "mjx")
_ONLINE = tuple(name for name in ESTIMATORS if name != "es")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a training run computes. Lengths are in env steps.

    Fields without a default depend on the others and are filled in by ``build_config``, so a saved
    configuration is complete. The texts are the help of the flags.
    """

    env: Annotated[str, "task to train: a name from `pes-rl envs` or any Gymnasium id"]
    engine: Annotated[Engine, "what steps the environment"]
    backend: Annotated[
        Backend | None, "physics of the engine, for those that have several (mjx, brax)"
    ]
    estimator: Annotated[Estimator, "gradient estimator"] = "es-single"
    seed: Annotated[int, "seed of every random stream"] = 0
    num_env_steps: Annotated[int, "training budget (env steps of live particles)"] = 1_000_000
    num_pairs: Annotated[int, "antithetic pairs N; 2N particles are stepped"] = 16
    perturb_std: Annotated[float, "standard deviation sigma of the parameter noise"] = 0.03
    segment_length: Annotated[int | None, "env steps K of an episode between two updates"]
    horizon: Annotated[int, "env steps T after which a training episode is cut"]
    noise_period: Annotated[
        int | None, "env steps between noise draws, a multiple of K (gpes only)"
    ] = None
    staggered: Annotated[bool, "start the pairs at different phases of the episode"]
    shaping: Annotated[Shaping, "what the segment losses are turned into"] = "std"
    num_top_pairs: Annotated[int | None, "use only this many best pairs, as ARS does"] = None
    optimizer: Annotated[Optimizer, "optax optimiser"] = "sgd"
    learning_rate: Annotated[float, "step size at the start of the schedule"] = 3e-4
    learning_rate_schedule: Annotated[Schedule, "shape of the step size over env steps"] = (
        "constant"
    )
    schedule_env_steps: Annotated[
        int | None, "env steps at which the schedule reaches its end (not for constant)"
    ] = None
    momentum: Annotated[float, "momentum of sgd, in [0, 1)"] = 0.0
    max_grad_norm: Annotated[float | None, "clip the gradient to this global norm"] = None
    weight_decay: Annotated[
        float, "weight decay; decoupled for adamw, else added to the gradient"
    ] = 0.0
    normalize_observations: Annotated[bool, "standardise observations by running statistics"] = True
    reward_shift: Annotated[float, "subtracted from each training reward (survival bonus)"] = 0.0
    policy: Annotated[Literal["linear", "mlp", "gru"], "policy architecture"] = "linear"
    hidden_sizes: Annotated[tuple[int, ...], "hidden layer sizes (mlp), state size (gru)"]
    activation: Annotated[Literal["tanh", "relu"], "activation of the mlp"] = "tanh"
    num_threads: Annotated[int | None, "physics threads, one per available core if not given"] = (
        None
    )
    particle_chunk: Annotated[
        int | None, "antithetic pairs unrolled at a time on each device, to save memory"
    ] = None
    precision: Annotated[Precision, "number format of the policy's matrix products"] = "float32"
    eval_every: Annotated[int, "env steps between evaluations"] = 50_000
    eval_episodes: Annotated[int, "episodes per evaluation"] = 10
    checkpoint_every: Annotated[int, "env steps between checkpoints"] = 250_000


# What the fields that depend on others default to, in words for --help.
DERIVED = {
    "engine": "brax for brax/ names, mujoco where it has the task, else gymnasium",
    "backend": "jax for mjx, spring for brax",
    "segment_length": "50, at most the horizon; es has none",
    "horizon": "the task's time limit",
    "staggered": "on, except for es",
    "noise_period": "four segments",
    "hidden_sizes": "64 64 for mlp, 64 for gru",
}
# A field that means something only beside some values of another one, and its value otherwise.
_APPLIES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "backend": ("engine", ("mjx", "brax"), None),
    "segment_length": ("estimator", _ONLINE, None),
    "staggered": ("estimator", _ONLINE, False),
    "noise_period": ("estimator", ("gpes",), None),
    "schedule_env_steps": ("learning_rate_schedule", ("linear", "cosine"), None),
    "momentum": ("optimizer", ("sgd",), 0.0),
    "hidden_sizes": ("policy", ("mlp", "gru"), ()),
    "activation": ("policy", ("mlp",), "tanh"),
    "particle_chunk": ("engine", JAX_ENGINES, None),
    "precision": ("engine", JAX_ENGINES, "float32"),
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of ``Config`` as flags and files see it."""

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


def build_config(overrides: Mapping[str, Any], config_file: Path | None = None) -> Config:
    """Merge overrides > ``config_file`` > preset > defaults into one valid configuration.

    Values may be text, as flags and YAML give them. Raises ``UserError`` on anything wrong.
    """
    flags = parse_fields(overrides)
    file_blocks = _read_blocks(config_file, str(config_file)) if config_file else {}
    head = {**_select(file_blocks), **flags}
    if "env" not in head:
        raise UserError("no environment given; add --env, for example --env HalfCheetah")
    environment = resolve(head["env"], head.get("engine"))
    preset_blocks = _read_preset(environment)
    default = OPTIONS["estimator"].default
    estimator = {"estimator": default, **_select(preset_blocks), **head}["estimator"]
    chosen = {**_select(file_blocks, estimator), **flags}
    preset = _fit(_select(preset_blocks, estimator), chosen)
    layers = (flags, _select(file_blocks, estimator), preset)
    config = _complete(_merge(layers), environment)
    validate(config)
    return config


def save_config(config: Config, path: Path) -> None:
    """Write every field as YAML; ``load_config`` returns an equal configuration."""
    import yaml

    values = dataclasses.asdict(config)
    values["hidden_sizes"] = list(config.hidden_sizes)
    write_text_atomic(path, yaml.safe_dump(values, sort_keys=False))


def load_config(path: Path) -> Config:
    """Read a run's complete ``config.yaml``, without presets or defaults."""
    values = _select(_read_blocks(path, str(path)))
    # Null is how the file says that es has no segments and only gpes a noise period; what concerns
    # engines of later versions alone is not in it.
    for name, (switch, allowed, neutral) in _APPLIES.items():
        if values.get(switch) not in allowed:
            values.setdefault(name, neutral)
    missing = [name for name in OPTIONS if name not in values]
    if missing:
        raise UserError(f"{path} is not a complete run configuration: {missing[0]!r} is missing")
    config = Config(**values)
    validate(config)
    return config


def parse_fields(values: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Check names and types; text becomes values, and null leaves a derived default in place."""
    where = f"{source}: " if source else ""
    parsed = {}
    for name, value in values.items():
        option = OPTIONS.get(name)
        if option is None:
            place = f" in {source}" if source else ""
            raise UserError(f"unknown key {name!r}{place}{suggest(str(name), OPTIONS)}")
        if name in DERIVED and is_null(value):
            continue
        try:
            parsed[name] = parse_value(option.kind, value)
        except ValueError as expected:
            shown = value if isinstance(value, str) else str(value)
            kind = required(option.kind)
            hint = suggest(shown, get_args(kind)) if is_literal(kind) else ""
            raise UserError(f"{where}{name} must be {expected}, not {shown!r}{hint}") from None
    return parsed


def _read_preset(environment: Environment) -> dict[str, dict[str, Any]]:
    if environment.name not in TASKS:
        return {}
    from importlib.resources import as_file, files

    with as_file(files("pes_rl.configs") / f"{environment.name}.yaml") as path:
        return _read_blocks(path, f"preset {path.name}")


def _read_blocks(path: Path, source: str) -> dict[str, dict[str, Any]]:
    """A YAML file's values by block: ``common`` (and flat keys) and one block per estimator."""
    document = read_yaml(path, source)
    names = ("common", *ESTIMATORS)
    flat = {key: value for key, value in document.items() if key not in names}
    unknown = [key for key, value in flat.items() if isinstance(value, dict)]
    if unknown and unknown[0] not in OPTIONS:
        raise UserError(f"unknown block {unknown[0]!r} in {source}{suggest(unknown[0], names)}")
    blocks = {"flat": parse_fields(flat, source)}
    for name in names:
        block = document.get(name) or {}
        if not isinstance(block, dict):
            raise UserError(f"{source}: {name!r} must hold keys and values, not {block!r}")
        if name != "common" and "estimator" in block:
            raise UserError(f"{source}: the block {name!r} cannot choose another estimator")
        blocks[name] = parse_fields(block, source)
    return blocks


def _select(blocks: Mapping[str, dict[str, Any]], estimator: str = "") -> dict[str, Any]:
    return {**blocks.get("common", {}), **blocks.get("flat", {}), **blocks.get(estimator, {})}


def _fit(preset: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A preset cut to what the user chose: its values must not make another's flag an error."""
    fitted = dict(preset)
    for name, bound in (("num_top_pairs", "num_pairs"), ("segment_length", "horizon")):
        if fitted.get(name) is not None and chosen.get(bound) is not None:
            fitted[name] = min(fitted[name], chosen[bound])
    return fitted


def _merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack layers, first wins; a choice made above drops what was meant for another choice.

    So ``--estimator es`` on top of a file made for pes needs no cleaning of its segment length.
    """
    merged: dict[str, Any] = {}
    for depth, layer in reversed(list(enumerate(layers))):
        above = {key: value for higher in reversed(layers[:depth]) for key, value in higher.items()}
        merged |= {name: v for name, v in layer.items() if _was_meant(name, layer, above)}
    return merged


def _was_meant(name: str, layer: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    switch, allowed, _ = _APPLIES.get(name, ("", (), None))
    if switch not in above:
        return True
    return above[switch] in allowed and layer.get(switch, above[switch]) in allowed


def _complete(given: dict[str, Any], environment: Environment) -> Config:
    """Fill in defaults, those that depend on other fields last."""
    values = {
        name: option.default
        for name, option in OPTIONS.items()
        if option.default is not dataclasses.MISSING
    } | given
    values["env"] = environment.name
    engine = values.setdefault("engine", environment.engines[0])
    values.setdefault("backend", default_backend(environment, engine))
    horizon = values.setdefault("horizon", environment.horizon)
    if horizon is None:
        raise UserError(f"environment {environment.name!r} has no time limit; give --horizon")
    online = values["estimator"] != "es"
    values.setdefault("segment_length", min(50, horizon) if online else None)
    values.setdefault("staggered", online)
    if values["estimator"] == "gpes" and values["noise_period"] is None:
        segment = values["segment_length"]
        values["noise_period"] = max(1, min(4, horizon // segment)) * segment
    hidden = {"linear": (), "mlp": (64, 64), "gru": (64,)}
    values.setdefault("hidden_sizes", hidden[values["policy"]])
    return Config(**values)


_MAY_BE_ZERO = ("seed", "momentum", "weight_decay", "reward_shift")
_MAY_BE_NONE = ("particle_chunk",)


def validate(config: Config) -> None:
    """Raise ``UserError`` where fields are out of range or contradict each other."""
    _check_ranges(config)
    check_backend(resolve(config.env, config.engine), config.engine, config.backend)
    _check_choices(config)
    _check_episode(config)
    if config.num_top_pairs is not None and config.num_top_pairs > config.num_pairs:
        raise UserError(
            f"num_top_pairs {config.num_top_pairs} is more than num_pairs {config.num_pairs}; "
            "lower it, or set it to none to use every pair"
        )


def _check_ranges(config: Config) -> None:
    for name, option in OPTIONS.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        zero = name in _MAY_BE_ZERO
        in_range = value > 0 or (zero and value == 0) or name == "reward_shift"
        if not (in_range and math.isfinite(value)):
            fix = f"; try {option.default}" if isinstance(option.default, int | float) else ""
            kind = "0 or more" if zero else "positive"
            kind = "a number" if name == "reward_shift" else kind
            raise UserError(f"{name} must be finite and {kind}, not {value}{fix}")
    if config.seed >= 2**32:
        raise UserError(f"seed must be below 2**32, not {config.seed}")
    if config.momentum >= 1:
        raise UserError(f"momentum must be below 1, not {config.momentum}; try 0.9")
    if any(size <= 0 for size in config.hidden_sizes):
        raise UserError(f"hidden_sizes must be positive, not {list(config.hidden_sizes)}")


def _check_choices(config: Config) -> None:
    """Refuse an option that would silently do nothing, and ask for one that is needed."""
    for name, (switch, allowed, neutral) in _APPLIES.items():
        value, choice = getattr(config, name), getattr(config, switch)
        if choice not in allowed and value != neutral:
            raise UserError(
                f"{name} {value} has no effect with {switch} {choice!r}; remove it, "
                f"or choose {switch} {' or '.join(allowed)}"
            )
        if choice in allowed and value is None and name not in _MAY_BE_NONE:
            raise UserError(f"{switch} {choice!r} needs {name}; give --{name.replace('_', '-')}")
    layers = len(config.hidden_sizes)
    if (config.policy == "mlp" and layers == 0) or (config.policy == "gru" and layers != 1):
        raise UserError(
            f"policy {config.policy!r} cannot have hidden_sizes {list(config.hidden_sizes)}; "
            "give one size for gru, one or more for mlp"
        )


def _check_episode(config: Config) -> None:
    limit = resolve(config.env, config.engine).horizon
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
