"""From flags, files and presets to one valid ``Config``, and back to a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pes_rl.config.checks import validate
from pes_rl.config.fields import (
    APPLIES,
    DERIVED,
    ESTIMATOR_NAMES,
    EVAL_EVERY,
    JAX_ENGINES,
    LANES,
    LANES_FROM,
    OPTIONS,
    Config,
)
from pes_rl.config.values import is_literal, is_null, parse_value, read_yaml, required
from pes_rl.envs.registry import Environment, default_backend, resolve
from pes_rl.errors import UserError, shown, suggest
from pes_rl.policies import KINDS
from pes_rl.storage.files import as_path, write_text_atomic

# Fields that came later than run folders that can still be resumed, as they were there.
_YOUNGER = {
    "init_from": None,
    "num_inputs": None,
    "perturb_std_decay_steps": None,
    "retry_after": None,
    "retry_below": None,
    "keep_checkpoints": 2,
    "log_every": 2000,
    "eval_lanes": 0,
}
GPU_BLOCK = "warp"  # for the backend of that name
_EVALUATIONS_APART = 20  # in which time there is one, where lanes score all the time


def build_config(overrides: Mapping[str, Any], config_file: Path | None = None) -> Config:
    """Merge overrides > ``config_file`` > preset > defaults into one valid configuration.

    Values may be text, as flags and YAML give them. Raises ``UserError`` on anything wrong.
    """
    flags = parse_fields(overrides)
    file_blocks = _read_blocks(config_file, str(config_file)) if config_file else {}
    backend = {**_select(file_blocks), **flags}.get("backend")
    file_gpu = _on_gpu(file_blocks, flags, backend)
    head = {**_select(file_blocks), **file_gpu, **flags}
    if "env" not in head:
        raise UserError("no environment given; add --env, for example --env HalfCheetah")
    more = (head.get(name) for name in ("engine", "env_kwargs", "wrappers"))
    environment = resolve(head["env"], *more)
    preset_blocks = _read_preset(environment)
    gpu = _on_gpu(preset_blocks, head, backend)
    default = OPTIONS["estimator"].default
    estimator = {"estimator": default, **_select(preset_blocks), **gpu, **head}["estimator"]
    file = _select(file_blocks, estimator) | file_gpu
    preset = _fit(_select(preset_blocks, estimator) | gpu, {**file, **flags})
    # What is common to a preset's estimators need not mean something for each of them.
    layers = (flags, file, {"estimator": estimator}, preset)
    config = _complete(_merge(layers), environment)
    validate(config)
    return config


def usual_value(config: Config, name: str) -> Any:
    """What the option ``name`` would be had it not been given, with all others as they are."""
    values = dataclasses.asdict(config)
    del values[name]
    return getattr(_complete(values, config.environment), name)


def save_config(config: Config, path: Path) -> None:
    """Write every field as YAML; ``load_config`` returns an equal configuration."""
    import yaml

    values = dataclasses.asdict(config)
    values["hidden_sizes"] = list(config.hidden_sizes)
    write_text_atomic(path, yaml.safe_dump(values, sort_keys=False))


def load_config(path: Path) -> Config:
    """Read a run's complete ``config.yaml``, without presets or defaults."""
    # Null is how the file says that es has no segments and only gpes a noise period.
    values = with_neutral(_select(_read_blocks(path, str(path))))
    missing = [name for name in OPTIONS if name not in values]
    if missing:
        raise UserError(f"{path} is not a complete run configuration: {missing[0]!r} is missing")
    config = Config(**values)
    validate(config)
    return config


def with_neutral(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` of a saved configuration, completed by fields that change nothing beside them.

    A file lacks such a field where it is older than the field.
    """
    meaningless = {
        name: condition.neutral
        for name, condition in APPLIES.items()
        if values.get(condition.switch) not in condition.allowed
    }
    return _YOUNGER | meaningless | dict(values)


def parse_fields(values: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Check names and types; text becomes values, and null leaves a derived default in place."""
    where = f"{source}: " if source else ""
    parsed = {}
    for name, value in values.items():
        option = OPTIONS.get(name)
        if option is None:
            place = f" in {source}" if source else ""
            raise UserError(f"unknown key {shown(name)}{place}{suggest(str(name), OPTIONS)}")
        if name in DERIVED and is_null(value):
            continue
        try:
            parsed[name] = parse_value(option.kind, value)
        except ValueError as expected:
            text, kind = str(value), required(option.kind)
            hint = suggest(text, get_args(kind)) if is_literal(kind) else ""
            raise UserError(f"{where}{name} must be {expected}, not {shown(text)}{hint}") from None
    return parsed


def _read_preset(environment: Environment) -> dict[str, dict[str, Any]]:
    from importlib.resources import as_file, files

    preset = files("pes_rl.config.presets") / f"{environment.name}.yaml"
    if not preset.is_file():
        return {}
    with as_file(preset) as path:
        return _read_blocks(path, f"preset {path.name}")


def _on_gpu(
    blocks: Mapping[str, dict[str, Any]], chosen: Mapping[str, Any], backend: str | None
) -> dict[str, Any]:
    """What there is for the large populations of a GPU, unless another estimator was chosen."""
    block = blocks.get(GPU_BLOCK, {})
    fits = chosen.get("estimator", block.get("estimator")) == block.get("estimator")
    return block if fits and backend == GPU_BLOCK else {}


def _read_blocks(path: Path, source: str) -> dict[str, dict[str, Any]]:
    """A YAML file's values by block: ``common`` (and flat keys), one per estimator, and a GPU's."""
    document = read_yaml(path, source)
    names = ("common", *ESTIMATOR_NAMES, GPU_BLOCK)
    flat = {key: value for key, value in document.items() if key not in names}
    unknown = [k for k, value in flat.items() if isinstance(value, dict) and k not in OPTIONS]
    if unknown:
        raise UserError(
            f"unknown block {shown(unknown[0])} in {source}{suggest(unknown[0], names)}"
        )
    blocks = {"flat": parse_fields(flat, source)}
    for name in names:
        block = document.get(name) or {}
        if not isinstance(block, dict):
            raise UserError(f"{source}: {name!r} must hold keys and values, not {shown(block)}")
        for head in ("env", "estimator"):  # known before any block is chosen
            if name not in ("common", GPU_BLOCK) and head in block:
                raise UserError(f"{source}: the block {name!r} cannot choose another {head}")
        blocks[name] = parse_fields(block, source)
    return blocks


def _select(blocks: Mapping[str, dict[str, Any]], estimator: str = "") -> dict[str, Any]:
    return {**blocks.get("common", {}), **blocks.get("flat", {}), **blocks.get(estimator, {})}


def _fit(preset: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The preset, without or with lower values of what would contradict what the user chose."""
    fitted = dict(preset)
    retry = ("retry_after", "retry_below")  # off where one is, and not for a warm start
    off = any(name in chosen and chosen[name] is None for name in retry)
    if off or chosen.get("init_from") is not None:
        fitted |= dict.fromkeys(fitted.keys() & retry)
    for name, bound in (("num_top_pairs", "num_pairs"), ("segment_length", "horizon")):
        if fitted.get(name) is not None and chosen.get(bound) is not None:
            fitted[name] = min(fitted[name], chosen[bound])
    return fitted


def _merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping of all layers, the first wins; a choice drops what was meant for another one.

    So ``--estimator es`` on top of a file made for pes needs no cleaning of its segment length.
    """
    merged: dict[str, Any] = {}
    for depth, layer in reversed(list(enumerate(layers))):
        above = {key: value for higher in reversed(layers[:depth]) for key, value in higher.items()}
        merged |= {name: v for name, v in layer.items() if _was_meant(name, layer, above)}
    return merged


def _was_meant(name: str, layer: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """Whether a layer's value of ``name`` still applies beside the choices of the layers above."""
    condition = APPLIES.get(name)
    if condition is None or condition.switch not in above:
        return True
    choice = above[condition.switch]
    own_choice = layer.get(condition.switch, choice)
    return choice in condition.allowed and own_choice in condition.allowed


def _complete(given: dict[str, Any], environment: Environment) -> Config:
    """Fill in the defaults, those that depend on other fields last."""
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
    values.setdefault("hidden_sizes", KINDS[values["policy"]].hidden_sizes)
    large = engine in JAX_ENGINES and values["num_pairs"] >= LANES_FROM
    lanes = values.setdefault("eval_lanes", LANES if large else 0)
    # An evaluation is as many steps, one after the other, as an episode of the population.
    evaluation = 2 * values["num_pairs"] * (environment.horizon or horizon)
    values.setdefault("eval_every", _EVALUATIONS_APART * evaluation if lanes else EVAL_EVERY)
    values["schedule_env_steps"] = schedule_end(values)
    if values["init_from"] is not None:
        values["init_from"] = _placed(values["init_from"])
    return Config(**values)


def schedule_end(values: Mapping[str, Any]) -> int | None:
    """Where the learning rate's schedule reaches its end: at the budget unless told otherwise."""
    given = values["schedule_env_steps"]
    switch, allowed, _ = APPLIES["schedule_env_steps"]
    return values["num_env_steps"] if given is None and values[switch] in allowed else given


def _placed(text: str) -> str:
    """A path that is there as an absolute one; ``zoo/NAME`` stays, and what cannot be found."""
    path = as_path(text)
    return str(path.absolute()) if path.exists() else text
