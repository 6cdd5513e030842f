"""The policy artifact: a folder from which a trained policy acts with NumPy alone.

``policy.safetensors`` is the whole policy: float32 parameters, float64 observation statistics, the
action bounds and, in its header, a JSON description with a SHA-256 over everything. Being one
file, it is replaced by one rename, so a reader never meets a mixture of two policies.
``policy.json`` is the same description for people and scripts; it is not read back.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pes_rl import zoo
from pes_rl.console import warn
from pes_rl.errors import UserError, shown
from pes_rl.policies import Policy, kind_of
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import ObservationSpec, array_of
from pes_rl.storage.description import (
    action_of,
    environment_of,
    normalizer_of,
    observation_of,
    policy_of,
    scalars_of,
    theta_of,
)
from pes_rl.storage.files import Place, as_path, make_folders, plain, write_bytes_atomic
from pes_rl.storage.run_folder import BEST_POLICY, LAST_POLICY, is_run, suggest_run, versions
from pes_rl.storage.saved_policy import SavedPolicy

SCHEMA = 1
POLICY_FILE, DESCRIPTION_FILE = "policy.safetensors", "policy.json"
# A file is read whole before its SHA-256 can be checked; no policy comes near to these.
_LARGEST, _LONGEST = 2**30, 2**24  # bytes of a file, characters of its description
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
    if (folder / DESCRIPTION_FILE).is_dir():  # or the policy would be replaced before that is known
        raise UserError(f"cannot save the policy: {folder / DESCRIPTION_FILE} is a folder; move it")
    try:
        list(make_folders(folder))
        write_bytes_atomic(folder / POLICY_FILE, _in_order(save(arrays, metadata=header)))
        write_bytes_atomic(folder / DESCRIPTION_FILE, f"{text}\n".encode(), durable=False)
    except OSError as error:
        raise UserError(f"cannot save the policy in {folder}: {error.strerror}") from error


def policy_fingerprint(folder: Path) -> str | None:
    """SHA-256 of the policy file in ``folder``, None where none can be read."""
    try:
        return hashlib.sha256((folder / POLICY_FILE).read_bytes()).hexdigest()
    except OSError:
        return None


def warn_of_other_policy(folder: Path, known: str | None, env_steps: int) -> None:
    """Warn unless ``folder`` has the policy of fingerprint ``known``, or a newer one.

    A run that is resumed after ``env_steps`` may have saved one since, which it will save again.
    """
    found = policy_fingerprint(folder)
    if known in (None, found):
        return
    try:
        if load_policy(folder).scores.get("env_steps", 0) > env_steps:
            return
        problem = "is not the policy that the run saved there"
    except UserError as error:
        problem = f"is lost ({error})"
    warn(f"{folder} {problem}; another comes only with a better evaluation")


def _in_order(data: bytes) -> bytes:
    """The same file with its header in order: safetensors leaves that of the metadata to chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays are aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_policy(path: Place) -> SavedPolicy:
    """Load a policy folder or file, a run's policy (best, else last), or ``zoo/NAME``.

    A path that exists wins over the zoo.
    Raises UserError when there is none, or it is damaged, or made by a newer pes-rl, or does not
    describe a policy that can act.
    """
    file = find_policy(path)
    text, arrays = _read(file)
    try:
        return _build(file, json.loads(text, parse_constant=_refuse), arrays)
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    except RecursionError:
        problem = "it is nested too deep"
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise UserError(f"{file} does not describe a policy: {problem}; copy it again from its run")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _build(file: Path, about: Any, arrays: dict[str, np.ndarray]) -> SavedPolicy:
    if not isinstance(about, dict):
        raise ValueError(f"the description must be an object, not {shown(about)}")
    versions = scalars_of("versions", about["versions"])
    if about["schema"] != SCHEMA:
        raise UserError(
            f"{file} has policy schema {shown(about['schema'])} (made by pes-rl "
            f"{versions.get('pes_rl', 'unknown')}), but this pes-rl reads schema {SCHEMA}; "
            "install the version that made it"
        )
    policy = policy_of(about["policy"])
    older = about.get("shapes") or {"observation": None, "action": None}
    action, shape = action_of(about["action"], arrays, policy.action_size, older["action"])
    size = policy.observation_size
    return SavedPolicy(
        policy,
        theta_of(arrays, policy),
        normalizer_of(arrays, size),
        action,
        environment_of(about["environment"]),
        scalars_of("scores", about["scores"]),
        versions,
        file.parent.absolute(),
        observation=observation_of(about.get("observation"), size, older["observation"]),
        action_shape=shape,
    )


def find_policy(place: Place) -> Path:
    """The file that `load_policy` reads; UserError if there is none."""
    path = as_path(place)
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
        size = file.stat().st_size
        if size > _LARGEST:
            raise UserError(
                f"{file} has {size} bytes, too many for a policy, of {_LARGEST} at most"
            )
        with safe_open(file, framework="np") as opened:
            header = opened.metadata() or {}
            if len(header.get("description", "")) > _LONGEST:
                raise UserError(f"{file} describes no policy: it has more than {_LONGEST} letters")
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
        flat = np.ascontiguousarray(array).reshape(-1)
        digest.update(flat.view(np.uint8).data)  # no second copy of what may be large
    return digest.hexdigest()
