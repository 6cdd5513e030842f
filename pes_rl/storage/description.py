"""From the description and the arrays of a policy file to its parts, each checked.

A policy may come from a stranger, so nothing is taken on trust: whatever would fail later, or act
NaN, is a ValueError (or KeyError) here that names the field. Numbers are bounded, and text is
printable, since it reaches a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import numpy as np

from pes_rl.errors import shown
from pes_rl.policies import KINDS, Policy, policy_class
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import ObservationSpec, array_of

_SIZE = 2**24  # the most numbers in an observation, an action or a layer
_NUMBER = 2**53  # what every reader of JSON can hold
_LARGEST = 1e300
# Below these no product with an observation is infinite in float32.
_WEIGHT, _MEAN = 1e18, 1e30
_DTYPES = {"theta": "<f4", "action": "<f4", "normalizer/total": "<i8", "normalizer": "<f8"}


def policy_of(about: Any) -> Policy:
    """The policy that a description's ``policy`` tells of."""
    given = dict(_mapping("policy", about))
    kind = policy_class(_choice("policy.kind", tuple(KINDS), given.pop("kind")))
    memory = given.pop("state_size", None)
    types = {f.name: get_type_hints(kind)[f.name] for f in fields(kind)}  # pyright: ignore
    unknown = sorted(given.keys() - types)
    if unknown:
        raise ValueError(f"unknown field {shown(unknown[0])} of policy")
    make: Callable[..., Policy] = kind
    policy = make(**{n: _argument(f"policy.{n}", types[n], value) for n, value in given.items()})
    if memory not in (None, policy.state_size):
        raise ValueError(f"policy.state_size must be {policy.state_size}, not {shown(memory)}")
    return policy


def action_of(
    about: Any, arrays: Mapping[str, np.ndarray], size: int, older_shape: Any = None
) -> tuple[ActionSpec, tuple[int, ...]]:
    """The action space of a policy with ``size`` outputs, and the shape of its actions."""
    given = _mapping("action", about)
    if given["size"] != size:
        raise ValueError(f"{size} outputs for {shown(given['size'])} actions")
    low, high = (_array(arrays, f"action/{end}") for end in ("low", "high"))
    if low.ndim != 1 or low.shape != high.shape or not (low <= high).all():
        raise ValueError("action bounds must be two rows of numbers, low <= high")
    if (low == np.inf).any() or (high == -np.inf).any():
        raise ValueError("action bounds leave no number between them")
    kind = _choice("action.kind", get_args(get_type_hints(ActionSpec)["kind"]), given["kind"])
    start = given.get("start", 0)
    choices = _wholes("action.choices", given.get("choices", ()), least=1)
    if kind == "multi-discrete":
        start = _wholes("action.start", start, -_NUMBER, _NUMBER, length=len(choices))
    else:
        start = _whole("action.start", start, -_NUMBER, _NUMBER)
    action = ActionSpec(
        kind,  # pyright: ignore
        size,
        tuple(low.tolist()),
        tuple(high.tolist()),
        start,
        choices,
        # What outputs were before that had a name.
        _choice("action.mapping", ("scale", "clip"), given.get("mapping", "clip")),  # pyright: ignore
    )
    shape = _shape("action.shape", given.get("shape", older_shape), math.prod(action.shape))
    return action, shape if action.shape else ()


def observation_of(about: Any, size: int, older_shape: Any = None) -> ObservationSpec:
    """The observation space of a policy with ``size`` inputs; an array's where none is told of."""
    if about is None:
        return array_of(_shape("shapes.observation", older_shape, size))
    _check_space("observation", about)
    observation = ObservationSpec.from_description(about)
    if observation.size < size:  # a policy may get the first numbers only
        told = f"of {len(observation.parts)} parts" if observation.parts else f"{observation}"
        raise ValueError(f"observation {told} does not hold {size} numbers")
    return observation


def theta_of(arrays: Mapping[str, np.ndarray], policy: Policy) -> np.ndarray:
    """The parameters [P] of ``policy``."""
    theta = _array(arrays, "theta", (policy.num_params,))
    if not (np.abs(theta) < _WEIGHT).all():
        raise ValueError(f"theta must be finite and below {_WEIGHT:g}")
    return theta


def normalizer_of(arrays: Mapping[str, np.ndarray], size: int) -> Normalizer | None:
    """The statistics of observations [O], None where the file has none."""
    if not any(name.startswith("normalizer/") for name in arrays):
        return None
    total = int(_array(arrays, "normalizer/total", ()))
    mean, m2 = (_array(arrays, f"normalizer/{name}", (size,)) for name in ("mean", "m2"))
    sound = (np.abs(mean) < _MEAN).all() and ((m2 >= 0) & (m2 < np.inf)).all()
    if total < 0 or not sound:
        raise ValueError("normalizer must be finite, its total and m2 not negative")
    return Normalizer(total, mean, m2)


def environment_of(about: Any) -> dict[str, Any]:
    """What the policy was trained in."""
    given = {
        "engine": "gymnasium",
        **_mapping("environment", about),
    }  # who saves one may leave it out
    for name in ("name", "engine"):
        _text(f"environment.{name}", given[name])
    for name in ("gymnasium_id", "backend", "wrappers"):
        if given.get(name) is not None:
            _text(f"environment.{name}", given[name])
    if given["gymnasium_id"] is None and given["engine"] in ("mujoco", "gymnasium"):
        raise ValueError(f"environment.gymnasium_id is needed by engine {given['engine']!r}")
    # Where nothing official ends episodes, the horizon does.
    if given["gymnasium_id"] is None or given.get("horizon") is not None:
        _whole("environment.horizon", given["horizon"], least=1, most=_NUMBER)
    if given.get("kwargs") is not None:
        _mapping("environment.kwargs", given["kwargs"])
    return dict(given)


def scalars_of(what: str, about: Any) -> dict[str, Any]:
    """Names and what they stand for: text, numbers, or None."""
    given = _mapping(what, about)
    for name, value in given.items():
        number = isinstance(value, int | float) and abs(value) < _LARGEST
        if value is not None and not number:
            _text(f"{what}.{_text(what, name)}", value)
    return dict(given)


def _argument(what: str, kind: Any, value: Any) -> Any:
    """One of a policy's arguments, by its type."""
    if kind is int:
        return _whole(what, value, least=1)
    names = [name for name in get_args(kind) if isinstance(name, str)]
    return _choice(what, names, value) if names else _wholes(what, value, least=1)


def _check_space(what: str, about: Any) -> None:
    given = _mapping(what, about)
    _text(f"{what}.kind", given["kind"])
    for name, least, most in (("shape", 0, _SIZE), ("counts", 1, _SIZE), ("start", -_NUMBER, None)):
        _wholes(f"{what}.{name}", given.get(name, ()), least, most or _NUMBER)
    keys = _listed(f"{what}.keys", given.get("keys", ()))
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise ValueError(f"{what}.keys must be different texts, not {shown(keys)}")
    for part in _listed(f"{what}.parts", given.get("parts", ())):
        _check_space(what, part)


def _array(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    array, dtype = arrays[name], _DTYPES.get(name) or _DTYPES[name.partition("/")[0]]
    if array.dtype != dtype:
        raise ValueError(f"{name} has type {array.dtype}, expected {np.dtype(dtype)}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def _shape(what: str, given: Any, size: int) -> tuple[int, ...]:
    """A space's shape, flat where the file does not say."""
    shape = (size,) if given is None else _wholes(what, given)
    if math.prod(shape) != size:
        raise ValueError(f"shape {shown(shape)} does not hold {size} numbers")
    return shape


def _whole(what: str, value: Any, least: int = 0, most: int = _SIZE) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"from {least} to {most}"
        raise ValueError(f"{what} must be a whole number {bounds}, not {shown(value)}")
    return value


def _wholes(
    what: str, value: Any, least: int = 0, most: int = _SIZE, length: int | None = None
) -> tuple[int, ...]:
    numbers = tuple(_whole(what, one, least, most) for one in _listed(what, value))
    if length not in (None, len(numbers)):
        raise ValueError(f"{what} must be {length} numbers, not {shown(value)}")
    return numbers


def _listed(what: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{what} must be a list, not {shown(value)}")
    return value


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, not {shown(value)}")
    return value


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{what} must be printable text, not {shown(value)}")
    return value


def _choice(what: str, names: Sequence[str], value: Any) -> str:
    if value not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}, not {shown(value)}")
    return value
