"""The policy artifact: a folder from which a trained policy acts with NumPy alone.

``policy.safetensors`` is the whole policy: float32 parameters, float64 observation statistics, the
action bounds and, in its header, a JSON description with a SHA-256 over everything. Being one
file, it is replaced by one rename, so a reader never meets a mixture of two policies.
``policy.json`` is the same description for people and scripts; it is not read back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pes_rl import zoo
from pes_rl.errors import UserError
from pes_rl.policies import Policy, kind_of, policy_class
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import ObservationSpec, array_of
from pes_rl.storage.files import Place, as_path, plain, write_bytes_atomic
from pes_rl.storage.run_folder import BEST_POLICY, LAST_POLICY, is_run, suggest_run, versions
from pes_rl.storage.saved_policy import SavedPolicy

SCHEMA = 1
POLICY_FILE, DESCRIPTION_FILE = "policy.safetensors", "policy.json"
_BEST, _LAST = Path(BEST_POLICY).name, Path(LAST_POLICY).name


def save_policy(
    folder: Path,
    policy: Policy,
    theta: ArrayLike,
    normalizer: Normalizer | None,
    action: ActionSpec,
    env: Mapping[str, Any],
    scores: Mapping[str, Any],
    observation: ObservationSpec | None = None,
    action_shape: tuple[int, ...] | None = None,
) -> None:
    """Write (or replace at one stroke) the artifact in ``folder``; ``theta`` is [P].

    The observation space and the actions' shape are flat where they are not given.
    Raises UserError when the disk refuses; a policy that was there before is then still there.
    """
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {"theta": np.array(theta, np.float32)}
    if arrays["theta"].shape != (policy.num_params,):
        raise ValueError(f"theta must be [{policy.num_params}], not {arrays['theta'].shape}")
    if normalizer is not None:
        arrays["normalizer/total"] = np.array(normalizer.total, np.int64)
        arrays["normalizer/mean"] = np.array(normalizer.mean, np.float64)
        arrays["normalizer/m2"] = np.array(normalizer.m2, np.float64)
    # Bounds may be infinite, which JSON cannot say.
    arrays["action/low"] = np.array(action.low, np.float32)
    arrays["action/high"] = np.array(action.high, np.float32)
    description = {
        "schema": SCHEMA,
        "policy": {"kind": kind_of(policy), **asdict(policy)},
        "action": {
            "kind": action.kind,
            "size": action.size,
            "shape": action.shape if action_shape is None else action_shape,
            "start": action.start,
            "choices": action.choices,
            "mapping": action.mapping,
        },
        "observation": (observation or array_of((policy.observation_size,))).describe(),
        "environment": dict(env),
        "scores": dict(scores),
        # Of packages alone: a policy is handed on, and tells nothing of the machine it came from.
        "versions": {k: v for k, v in versions().items() if k not in ("platform", "cpu_count")},
    }
    text = json.dumps(plain(description), indent=2)
    header = {"description": text, "sha256": _digest(text, arrays)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(folder / POLICY_FILE, save(arrays, metadata=header))
        write_bytes_atomic(folder / DESCRIPTION_FILE, f"{text}\n".encode(), durable=False)
    except OSError as error:
        raise UserError(f"cannot save the policy in {folder}: {error.strerror}") from error


def load_policy(path: Place) -> SavedPolicy:
    """Load a policy folder or file, a run's policy (best, else last), or ``zoo/NAME``.

    A path that exists wins over the zoo.
    Raises UserError when there is none, or it is damaged, or made by a newer pes-rl.
    """
    file = _find(as_path(path))
    text, arrays = _read(file)
    description = json.loads(text)
    if description["schema"] != SCHEMA:
        made_by = description.get("versions", {}).get("pes_rl", "unknown")
        raise UserError(
            f"{file} has policy schema {description['schema']} (made by pes-rl {made_by}), but "
            f"this pes-rl reads schema {SCHEMA}; install the version that made it"
        )
    try:
        return _build(file.parent.absolute(), description, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} does not describe a policy: {error}; copy it again from its run"
        ) from error


def _shape(given: Sequence[int] | None, size: int) -> tuple[int, ...]:
    """A space's shape, flat where the file does not say."""
    shape = (size,) if given is None else tuple(given)
    if math.prod(shape) != size:
        raise ValueError(f"shape {shape} does not hold {size} numbers")
    return shape


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _build(folder: Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedPolicy:
    fields: dict[str, Any] = dict(description["policy"])
    make: Callable[..., Policy] = policy_class(fields.pop("kind"))
    policy = make(**_tuples(fields))
    size, expected = policy.observation_size, {"theta": (policy.num_params,)}
    if "normalizer/total" in arrays:
        expected |= {"normalizer/mean": (size,), "normalizer/m2": (size,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, expected {shape}")
    low, high = (tuple(arrays[f"action/{end}"].tolist()) for end in ("low", "high"))
    about = {"mapping": "clip", **_tuples(description["action"])}  # as it was before it had a name
    shapes = description.get("shapes") or {}
    shape = about.pop("shape", shapes.get("action"))
    action = ActionSpec(low=low, high=high, **about)
    if action.size != policy.action_size:
        raise ValueError(f"{policy.action_size} outputs for {action.size} actions")
    normalizer = None
    if "normalizer/total" in arrays:
        count, mean, m2 = (arrays[f"normalizer/{field}"] for field in Normalizer._fields)
        normalizer = Normalizer(int(count), mean, m2)
    observation = array_of(_shape(shapes.get("observation"), size))
    if "observation" in description:
        observation = ObservationSpec.from_description(description["observation"])
    if observation.size != size:
        raise ValueError(f"{observation} does not hold {size} numbers")
    return SavedPolicy(
        policy,
        arrays["theta"],
        normalizer,
        action,
        description["environment"],
        description["scores"],
        description["versions"],
        folder,
        observation=observation,
        action_shape=_shape(shape, math.prod(action.shape)) if action.shape else (),
    )


def _find(path: Path) -> Path:
    if os.path.isfile(path):
        if path.suffix == ".safetensors":
            return path
        raise UserError(f"{path} is no policy: give a run, a policy folder or its {POLICY_FILE}")
    for place in ("", _BEST, _LAST, BEST_POLICY, LAST_POLICY):
        if os.path.isfile(path / place / POLICY_FILE):
            return path / place / POLICY_FILE
    if is_run(path):
        raise UserError(f"the run {path} has saved no policy yet: train it further first")
    if path.parts[:1] == ("zoo",) and not os.path.lexists(path):
        return zoo.find("/".join(path.parts[1:])) / POLICY_FILE
    problem = f"no {POLICY_FILE} in {path}" if os.path.lexists(path) else f"{path} does not exist"
    hint = f"; did you mean 'zoo/{path.name}'?" if path.name in zoo.names() else suggest_run(path)
    raise UserError(f"no policy to load: {problem}{hint}")


def _read(file: Path) -> tuple[str, dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            header = opened.metadata() or {}
            names = list(opened.keys())
            arrays = {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(file, str(error)) from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    if not header.keys() & {"description", "sha256"}:
        raise UserError(f"{file} is no policy that pes-rl wrote; give a run or policy folder")
    text = header.get("description", "")
    if header.get("sha256") != _digest(text, arrays):
        raise _damaged(file, "its contents do not match its SHA-256")
    return text, arrays


def _damaged(file: Path, why: str) -> UserError:
    other = file.parent.with_name(_LAST if file.parent.name == _BEST else _BEST)
    there = os.path.isfile(other / POLICY_FILE)
    fix = f"load {other} instead" if there else "copy or save it again"
    return UserError(f"{file} is damaged: {why}; {fix}")


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
