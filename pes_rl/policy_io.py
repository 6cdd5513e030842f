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
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.errors import UserError
from pes_rl.policies import GRU, MLP, Affine, Linear, Normalizer, Policy
from pes_rl.policies.acting import act
from pes_rl.policies.action import ActionSpec
from pes_rl.run_folder import is_run, plain, suggest_run, versions, write_bytes_atomic

SCHEMA = 1
_FILE, _DESCRIPTION = "policy.safetensors", "policy.json"
_KINDS: dict[str, type[Policy]] = {"linear": Linear, "mlp": MLP, "gru": GRU}


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy that acts with NumPy alone; made by ``load_policy``.

    ``environment`` has the keys the training run saved (``name``, ``gymnasium_id``, ``engine``,
    ``horizon``), ``scores`` its evaluation, ``versions`` the packages it was trained with.
    """

    policy: Policy
    theta: np.ndarray
    normalizer: Normalizer | None
    action: ActionSpec
    environment: dict[str, Any]
    scores: dict[str, Any]
    versions: dict[str, Any]
    path: Path

    @cached_property
    def _weights(self) -> tuple[np.ndarray, ...]:
        return self.policy.unpack(self.theta)

    @cached_property
    def _affine(self) -> Affine:
        size = self.policy.observation_size
        return self.normalizer.affine() if self.normalizer else Affine.identity(size)

    def __call__(self, obs: Any) -> np.ndarray:
        """Action for one observation [O] or several [n, O].

        Raises UserError for a policy with memory, whose state only ``predict`` hands back.
        """
        if self.policy.state_size:
            raise UserError(
                "this policy has a memory: use `action, state = policy.predict(obs, state)`"
            )
        return self.predict(obs)[0]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Stable-Baselines3's ``predict``: ``(action, state)``.

        ``observation`` is [O] or [n, O]. Actions are float32 [A] or [n, A], clipped to the box, or
        int64 [] or [n]. ``state`` is None for a policy without memory; otherwise pass back what
        the previous call returned ([H] or [n, H], None at first), and in ``episode_start`` (bool,
        [n]) which rows begin an episode. The policy is deterministic in any case.
        Raises UserError when an array has the wrong shape.
        """
        del deterministic
        obs = np.asarray(observation, np.float64)
        size, memory = self.policy.observation_size, self.policy.state_size
        if obs.ndim not in (1, 2) or obs.shape[-1] != size:
            raise UserError(
                f"wrong observation shape: expected ({size},) or (n, {size}), got {obs.shape}"
            )
        hidden = self._hidden(state, episode_start, (*obs.shape[:-1], memory))
        action, hidden = act(self.policy, self.action, self._weights, self._affine, obs, hidden)
        dtype = np.int64 if self.action.kind == "discrete" else np.float32
        return np.asarray(action, dtype), hidden if memory else None

    def _hidden(self, state: Any, episode_start: Any, shape: tuple[int, ...]) -> np.ndarray:
        if state is None or not self.policy.state_size:
            return np.zeros(shape, np.float32)
        hidden = np.asarray(state, np.float32)
        if hidden.shape != shape:
            raise UserError(f"wrong policy state shape: expected {shape}, got {hidden.shape}")
        if episode_start is None:
            return hidden
        starts = np.asarray(episode_start, bool)
        if starts.size != np.prod(shape[:-1]):
            raise UserError(f"wrong episode_start: expected {shape[:-1]}, got {starts.shape}")
        return np.where(starts.reshape(*shape[:-1], 1), np.float32(0), hidden)


def save_policy(
    folder: Path,
    policy: Policy,
    theta: Any,
    normalizer: Normalizer | None,
    action: ActionSpec,
    env: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> None:
    """Write (or replace at one stroke) the artifact in ``folder``; ``theta`` is [P].

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
    kind = next(name for name, cls in _KINDS.items() if isinstance(policy, cls))
    description = {
        "schema": SCHEMA,
        "policy": {"kind": kind, **asdict(policy)},
        "action": {"kind": action.kind, "size": action.size, "start": action.start},
        "environment": dict(env),
        "scores": dict(scores),
        "versions": versions(),
    }
    text = json.dumps(plain(description), indent=2)
    header = {"description": text, "sha256": _digest(text, arrays)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(folder / _FILE, save(arrays, metadata=header))
        write_bytes_atomic(folder / _DESCRIPTION, f"{text}\n".encode())
    except OSError as error:
        raise UserError(f"cannot save the policy in {folder}: {error.strerror}") from error


def load_policy(path: str | Path) -> SavedPolicy:
    """Load a policy folder, or a run's ``policy/best`` (``policy/last`` if there is no best).

    Raises UserError when there is none, or it is damaged, or made by a newer pes-rl.
    """
    file = _find(Path(path))
    text, arrays = _read(file)
    description = json.loads(text)
    if description["schema"] != SCHEMA:
        raise UserError(
            f"{file} has policy schema {description['schema']} (made by pes-rl "
            f"{description.get('versions', {}).get('pes_rl', 'unknown')}), but this pes-rl reads "
            f"schema {SCHEMA}; install the version that made it"
        )
    try:
        policy, action, normalizer = _build(description, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} does not describe a policy: {error}") from error
    return SavedPolicy(
        policy,
        arrays["theta"],
        normalizer,
        action,
        description["environment"],
        description["scores"],
        description["versions"],
        file.parent,
    )


def _build(
    description: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[Policy, ActionSpec, Normalizer | None]:
    fields: dict[str, Any] = dict(description["policy"])
    if "hidden_sizes" in fields:
        fields["hidden_sizes"] = tuple(fields["hidden_sizes"])
    policy = _KINDS[fields.pop("kind")](**fields)
    size, expected = policy.observation_size, {"theta": (policy.num_params,)}
    if "normalizer/total" in arrays:
        expected |= {"normalizer/mean": (size,), "normalizer/m2": (size,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, expected {shape}")
    low, high = (tuple(arrays[f"action/{end}"].tolist()) for end in ("low", "high"))
    action = ActionSpec(low=low, high=high, **description["action"])
    if action.size != policy.action_size:
        raise ValueError(f"{policy.action_size} outputs for {action.size} actions")
    if "normalizer/total" not in arrays:
        return policy, action, None
    count, mean, m2 = (arrays[f"normalizer/{field}"] for field in Normalizer._fields)
    return policy, action, Normalizer(int(count), mean, m2)


def _find(path: Path) -> Path:
    if path.name == _FILE and os.path.isfile(path):
        return path
    for place in ("", "best", "last", "policy/best", "policy/last"):
        if os.path.isfile(path / place / _FILE):
            return path / place / _FILE
    if is_run(path):
        raise UserError(f"the run {path} has saved no policy yet: train it further first")
    problem = f"no {_FILE} in {path}" if path.exists() else f"{path} does not exist"
    raise UserError(f"no policy to load: {problem}{suggest_run(path)}")


def _read(file: Path) -> tuple[str, dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            header = opened.metadata() or {}
            names = list(opened.keys())
            arrays = {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    text = header.get("description", "")
    if header.get("sha256") != _digest(text, arrays):
        raise UserError(f"{file} is damaged: its contents do not match its SHA-256")
    return text, arrays


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
