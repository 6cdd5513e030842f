"""What an engine that steps particles on the host must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pes_rl.policies.action import ActionSpec
from pes_rl.policies.observation import ObservationSpec

# What a simulator calls saved environments, uint8 [n, L] with an L that differs from time to time.
OPAQUE = "opaque"


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


class Gains(NamedTuple):
    """What S env steps brought R particles, all [S, R]; after a particle's end it means nothing.

    Attributes:
      reward: float64.
      terminated: bool, the task's own end (time limits are the runner's business).
      unstable: bool, the simulation broke down and its numbers mean nothing.
    """

    reward: np.ndarray
    terminated: np.ndarray
    unstable: np.ndarray


class Stretch(Protocol):
    """A few env steps of R particles; what they gained is worked out at the end, which is cheaper.

    Attributes:
      length: env steps to take before it is settled; fewer as soon as nobody lives.
    """

    length: int

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step with actions [R, A]; observations [R, O].

        A particle whose episode is over steps on: what comes out then means nothing.
        """
        ...

    def settle(self) -> Gains:
        """What the steps brought, once all of them are taken."""
        ...


class Simulator(Protocol):
    """A fixed number of independent environments, stepped in any subset.

    Attributes:
      observation: the observation space.
      observation_size: O.
      action: the action space.
      action_shape: shape of an action outside of training, where it is flat.
      exact: whether `state` holds all there is, so that a restored run continues bit for bit.
      remarks: what a user should know of it.
    """

    observation: ObservationSpec
    observation_size: int
    action: ActionSpec
    action_shape: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """See above."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """See above."""
        ...

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``, one generator each; observations [R, O]."""
        ...

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` (increasing indices [R]) by one env step with actions [R, A]."""
        ...

    def stretch(self, rows: np.ndarray, length: int) -> Stretch:
        """Begin at most ``length`` env steps of ``rows``."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Copies of everything the next step depends on; empty where it is opaque."""
        ...

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        ...

    def close(self) -> None:
        """Give back what the environments hold; it is used no more."""
        ...


class SingleStep:
    """A stretch of one env step, for simulators that work out what a step gained at once."""

    length = 1

    def __init__(self, simulator: Simulator, rows: np.ndarray):
        self._simulator, self._rows = simulator, rows

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step; observations [R, O]."""
        self._out = self._simulator.step(self._rows, action)
        return self._out.observation

    def settle(self) -> Gains:
        """What the step brought."""
        out = self._out
        return Gains(out.reward[None], out.terminated[None], out.unstable[None])
