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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl import zoo
from pes_rl.errors import UserError
from pes_rl.policies import GRU, MLP, Affine, Linear, Normalizer, Policy
from pes_rl.policies.acting import act
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.run_folder import is_run, plain, suggest_run, versions, write_bytes_atomic

SCHEMA = 1
_FILE, _DESCRIPTION = "policy.safetensors", "policy.json"
_KINDS: dict[str, type[Policy]] = {"linear": Linear, "mlp": MLP, "gru": GRU}


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy that acts with NumPy alone; made by ``load_policy``.

    ``environment`` has the keys the training run saved (``name``, ``gymnasium_id``, None where
    there is no official environment, ``engine``, ``backend``, ``horizon``), ``scores`` its
    evaluation, ``versions`` the packages it was trained with. ``observation_shape`` and
    ``action_shape`` are those of the environment's spaces, S and A below.
    """

    policy: Policy
    theta: np.ndarray
    normalizer: Normalizer | None
    action: ActionSpec
    environment: dict[str, Any]
    scores: dict[str, Any]
    versions: dict[str, Any]
    path: Path
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]

    @property
    def scored_in(self) -> str:
        """The environment that scores the policy: the official one, or else that of training."""
        return self.environment["gymnasium_id"] or self.environment["name"]

    @cached_property
    def _weights(self) -> tuple[np.ndarray, ...]:
        return self.policy.unpack(self.theta)

    @cached_property
    def _affine(self) -> Affine:
        size = self.policy.observation_size
        return self.normalizer.affine() if self.normalizer else Affine.identity(size)

    def __call__(self, obs: Any) -> np.ndarray:
        """Action for one observation [*S] or several [n, *S].

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

        ``observation`` is [*S] or [n, *S], or flattened [O] or [n, O]. Actions are float32 [*A] or
        [n, *A], clipped to the box, or int64 [] or [n]. ``state`` is None for a policy without
        memory; otherwise pass back what the previous call returned ([H] or [n, H], None at first),
        and in ``episode_start`` (bool, [n]) which rows begin an episode. The policy is
        deterministic in any case. Raises UserError when an array has the wrong shape.
        """
        del deterministic
        obs, memory = self._flatten(observation), self.policy.state_size
        lead = obs.shape[:-1]
        hidden = self._hidden(state, episode_start, (*lead, memory))
        action, hidden = act(self.policy, self.action, self._weights, self._affine, obs, hidden)
        dtype = np.int64 if self.action.kind == "discrete" else np.float32
        action = np.asarray(action, dtype).reshape(lead + self.action_shape)
        return action, hidden if memory else None

    def to_onnx(self, path: str | Path) -> None:
        """Write the policy as an ONNX graph, see `pes_rl.storage.onnx_export`."""
        from pes_rl.storage.onnx_export import export_onnx

        export_onnx(self.policy, self.theta, self.normalizer, self.action, Path(path))

    def _flatten(self, observation: Any) -> np.ndarray:
        """Float64 [O] or [n, O]."""
        shape, size = self.observation_shape, self.policy.observation_size
        try:
            obs = np.asarray(observation, np.float64)
            got: Any = obs.shape
            for one in (shape, (size,)):
                lead = obs.ndim - len(one)
                if lead in (0, 1) and got[lead:] == one:
                    return obs.reshape(*got[:lead], size)
        except (TypeError, ValueError):  # a dict or tuple of arrays, text
            got = f"a {type(observation).__name__}, not an array of numbers"
        several = f"({', '.join(map(str, ('n', *shape)))})"
        raise UserError(f"wrong observation shape: expected {shape} or {several}, got {got}")

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
    observation_shape: tuple[int, ...] | None = None,
    action_shape: tuple[int, ...] | None = None,
) -> None:
    """Write (or replace at one stroke) the artifact in ``folder``; ``theta`` is [P].

    The shapes are those of the environment's spaces where they are not flat.
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
        "shapes": {"observation": observation_shape, "action": action_shape},
        "environment": dict(env),
        "scores": dict(scores),
        # Of packages alone: a policy is handed on, and tells nothing of the machine it came from.
        "versions": {k: v for k, v in versions().items() if k not in ("platform", "cpu_count")},
    }
    text = json.dumps(plain(description), indent=2)
    header = {"description": text, "sha256": _digest(text, arrays)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(folder / _FILE, save(arrays, metadata=header))
        write_bytes_atomic(folder / _DESCRIPTION, f"{text}\n".encode(), durable=False)
    except OSError as error:
        raise UserError(f"cannot save the policy in {folder}: {error.strerror}") from error


def load_policy(path: str | Path) -> SavedPolicy:
    """Load a policy folder or file, a run's policy (best, else last), or ``zoo/NAME``.

    A path that exists wins over the zoo.
    Raises UserError when there is none, or it is damaged, or made by a newer pes-rl.
    """
    file = _find(Path(path))
    text, arrays = _read(file)
    description = json.loads(text)
    if description["schema"] != SCHEMA:
        made_by = description.get("versions", {}).get("pes_rl", "unknown")
        raise UserError(
            f"{file} has policy schema {description['schema']} (made by pes-rl {made_by}), but "
            f"this pes-rl reads schema {SCHEMA}; install the version that made it"
        )
    try:
        return _build(file.parent, description, arrays)
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


def _build(folder: Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedPolicy:
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
    normalizer = None
    if "normalizer/total" in arrays:
        count, mean, m2 = (arrays[f"normalizer/{field}"] for field in Normalizer._fields)
        normalizer = Normalizer(int(count), mean, m2)
    shapes = description.get("shapes", {})
    return SavedPolicy(
        policy,
        arrays["theta"],
        normalizer,
        action,
        description["environment"],
        description["scores"],
        description["versions"],
        folder,
        observation_shape=_shape(shapes.get("observation"), size),
        action_shape=() if action.kind == "discrete" else _shape(shapes.get("action"), action.size),
    )


def _find(path: Path) -> Path:
    if os.path.isfile(path):
        if path.suffix == ".safetensors":
            return path
        raise UserError(f"{path} is no policy: give a run, a policy folder or its {_FILE}")
    for place in ("", "best", "last", "policy/best", "policy/last"):
        if os.path.isfile(path / place / _FILE):
            return path / place / _FILE
    if is_run(path):
        raise UserError(f"the run {path} has saved no policy yet: train it further first")
    if path.parts[:1] == ("zoo",) and not os.path.lexists(path):
        return zoo.find("/".join(path.parts[1:])) / _FILE
    problem = f"no {_FILE} in {path}" if os.path.lexists(path) else f"{path} does not exist"
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
    other = file.parent.with_name("last" if file.parent.name == "best" else "best")
    fix = f"load {other} instead" if os.path.isfile(other / _FILE) else "copy or save it again"
    return UserError(f"{file} is damaged: {why}; {fix}")


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
