"""Gaussian noise on what a policy observes and does, drawn from the seed of each episode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.saved_policy import SavedPolicy

_OBSERVATION, _ACTION = 1, 2  # streams of an episode's seed, apart from that of its reset


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the noise.

    Attributes:
      observation: of what is observed, in units of the deviations that the policy's normaliser has
        of each number; in the environment's own where it has none.
      action: of what is done, in units of half of each action's range, 1 where it has no bounds.
        The sum is clipped to the bounds.
    """

    observation: float = 0.0
    action: float = 0.0

    def check(self, policy: SavedPolicy) -> None:
        """Raise UserError where the policy's actions are no numbers to add noise to."""
        if self.action and policy.action.kind != "box":
            raise UserError(
                f"action_noise {self.action:g} means nothing for {policy.action.kind} actions; "
                "leave it out"
            )

    def spreads(self, policy: SavedPolicy) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviations of each number observed [O] and done [A]."""
        scale = policy.affine.scale
        seen = np.zeros(policy.observation.size)  # the policy may get the first numbers only
        seen[: scale.size] = self.observation / scale
        return seen, self.action * _half_range(policy.action)


QUIET = Noise()


class Actor:
    """A policy that plays E episodes with noise.

    Episodes draw from generators of their own: their noise does not depend on who plays beside.
    """

    def __init__(self, policy: SavedPolicy, noise: Noise, seeds: Sequence[int]):
        self._policy, self._quiet = policy, noise == QUIET
        if not self._quiet:
            self._seen, self._done = noise.spreads(policy)
            self._rngs = [
                [np.random.default_rng([seed, stream]) for seed in seeds]
                for stream in (_OBSERVATION, _ACTION)
            ]

    def act(
        self, observation: Any, state: Any = None, rows: Iterable[int] = (0,)
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """`SavedPolicy.predict` for the episodes ``rows``, or for the only one."""
        policy = self._policy
        if self._quiet:
            return policy.predict(observation, state)
        seen, done = self._rngs
        flat = policy.observation.flatten(observation)
        action, state = policy.predict(flat + _draw(seen, rows, self._seen, flat.shape), state)
        if policy.action.kind == "box":
            low, high = (np.reshape(bound, policy.action_shape) for bound in policy.action.bounds)
            moved = action + _draw(done, rows, self._done, action.shape)
            action = np.minimum(np.maximum(moved, low), high).astype(action.dtype)
        return action, state


def _draw(
    rngs: list[np.random.Generator],
    rows: Iterable[int],
    spread: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    draws = np.stack([rngs[row].standard_normal(spread.size) for row in rows])
    return (draws * spread).reshape(shape)


def _half_range(action: ActionSpec) -> np.ndarray:
    """Half of the range of each of a box's actions [A], 1 where it has no bounds."""
    if action.kind != "box":
        return np.zeros(action.size)
    low, high = (bound.astype(np.float64) for bound in action.bounds)
    return np.where(action.bounded, (high - low) / 2, 1.0)
