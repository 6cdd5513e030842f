"""What an engine that steps particles on the host must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pes_rl.policies.action import ActionSpec


class Transition(NamedTuple):
    """One env step of R particles.

    Attributes:
      observation: float64 [R, O].
      reward: float64 [R].
      terminated: bool [R], the task's own end (time limits are the runner's business).
      unstable: bool [R], the simulation broke down and its numbers mean nothing.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    unstable: np.ndarray


class Stretch(Protocol):
    """A few env steps of R rows whose rewards are worked out at its end, which is cheaper."""

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step with actions [R, A]; observations [R, O]."""
        ...

    def settle(self) -> np.ndarray | None:
        """Rewards [S, R] of the S steps taken.

        None if a simulation broke down on the way: all rows are back where the stretch began.
        """
        ...


class Simulator(Protocol):
    """A fixed number of independent environments, stepped in any subset.

    Attributes:
      observation_size: O.
      action: the action space.
      exact: whether `state` holds all there is, so that a restored run continues bit for bit.
    """

    observation_size: int
    action: ActionSpec
    exact: bool

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``, one generator each; observations [R, O]."""
        ...

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` (increasing indices [R]) by one env step with actions [R, A]."""
        ...

    def stretch(self, rows: np.ndarray, length: int) -> Stretch | None:
        """Begin up to ``length`` env steps of ``rows``; None where an episode may end by itself."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Copies of everything the next step depends on; empty where it is opaque."""
        ...

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        ...
