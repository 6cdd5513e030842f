"""A trained policy in memory: it acts with NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.errors import UserError
from pes_rl.policies import Policy
from pes_rl.policies.acting import act
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Affine, Normalizer
from pes_rl.policies.observation import ObservationSpec, array_of
from pes_rl.storage.files import Place, as_path


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy that acts with NumPy alone; made by ``load_policy``.

    ``environment`` has the keys the training run saved (``name``, ``gymnasium_id``, None where
    there is no official environment, ``engine``, ``backend``, ``horizon``), ``scores`` its
    evaluation, ``versions`` the packages it was trained with. ``observation`` and ``action_shape``
    are the environment's observation space and the shape A of its actions.
    """

    policy: Policy
    theta: np.ndarray
    normalizer: Normalizer | None
    action: ActionSpec
    environment: dict[str, Any]
    scores: dict[str, Any]
    versions: dict[str, Any]
    path: Path
    observation: ObservationSpec
    action_shape: tuple[int, ...]

    @property
    def scored_in(self) -> str:
        """The environment that scores the policy: the official one, or else that of training."""
        return self.environment["gymnasium_id"] or self.environment["name"]

    @cached_property
    def _weights(self) -> tuple[np.ndarray, ...]:
        return self.policy.unpack(self.theta)

    @cached_property
    def affine(self) -> Affine:
        """What is done to observations."""
        size = self.policy.observation_size
        return self.normalizer.affine() if self.normalizer else Affine.identity(size)

    def __call__(self, obs: Any) -> np.ndarray:
        """Action for one observation or for n of them, stacked.

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
        """Action and new state for observations, called like Stable-Baselines3's ``predict``.

        ``observation`` is as the environment gives it, a dict or tuple of arrays where it does so,
        or flattened [O]; of n ones all arrays have n rows. Actions are [*A] or [n, *A]: float32
        within the box, or whole numbers. ``state`` is None for a policy without memory; otherwise
        pass back what the previous call returned ([H] or [n, H], None at first), and in
        ``episode_start`` (bool, [n]) which rows begin an episode. The policy is deterministic in
        any case. Raises UserError when an array has the wrong shape.
        """
        del deterministic
        obs, memory = self._flatten(observation), self.policy.state_size
        lead = obs.shape[:-1]
        hidden = self._hidden(state, episode_start, (*lead, memory))
        action, hidden = act(self.policy, self.action, self._weights, self.affine, obs, hidden)
        action = np.asarray(action, self.action.dtype).reshape(lead + self.action_shape)
        return action, hidden if memory else None

    def to_onnx(self, path: Place) -> None:
        """Write the policy as an ONNX graph, see `pes_rl.storage.onnx_export`."""
        from pes_rl.storage.onnx_export import export_onnx

        size, given = self.observation.size, (self.policy, self.theta, self.normalizer)
        export_onnx(*given, self.action, as_path(path), size)

    def _flatten(self, observation: Any) -> np.ndarray:
        """What the policy gets of an observation, as float64 [O] or [n, O].

        Raises UserError if it is not of the space.
        """
        problem: Exception | None = None
        for space in (self.observation, array_of((self.observation.size,))):
            try:
                return space.flatten(observation)[..., : self.policy.observation_size]
            except (TypeError, ValueError) as error:  # text, ragged lists, other shapes
                problem = problem or error
        raise UserError(f"wrong observation: {problem}")

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
