"""What a run needs of a trainer, whatever steps the particles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pes_rl.config import Config
from pes_rl.policies import Policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import ObservationSpec

if TYPE_CHECKING:  # it needs JAX, which takes a second to import
    from pes_rl.training.update import TrainState


class Evaluation(NamedTuple):
    """Returns [E] and lengths [E] of fresh episodes of the unperturbed policy.

    The return of an episode whose simulation broke down is NaN.
    """

    returns: np.ndarray
    lengths: np.ndarray

    @property
    def broken(self) -> int:
        """How many episodes have no return, or one beyond all numbers."""
        return int((~np.isfinite(self.returns)).sum())

    @property
    def mean(self) -> float:
        """Mean return, NaN if any episode broke down."""
        return math.nan if self.broken else float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns, NaN if any episode broke down."""
        return math.nan if self.broken else float(self.returns.std())


class TrainerState(NamedTuple):
    """All that a trainer's next update depends on, as a tree of NumPy arrays.

    Attributes:
      train: theta, optimiser, estimator, statistics.
      population: the environments and what the particles carry.
      updates: int64 scalar, updates made so far.
      lanes: evaluation lanes, if there are any.
    """

    train: TrainState
    population: Any
    updates: np.ndarray
    lanes: Any = ()


class Trainer(Protocol):
    """Trains one policy, some updates at a time.

    Attributes:
      config: what was asked for.
      policy: the policy's description.
      action: the action space.
      observation: the observation space.
      action_shape: shape of the environment's actions.
      exact_resume: whether a restored run continues bit for bit.
      num_shares: in how many parts the pairs are, on devices or in processes; sums over them differ
        in their last bits if that does.
      env_steps: live member steps consumed so far.
      updates: updates made so far.
      broken_off: whether the last `advance` ended with an error; in what `state` returns then,
        every pair is to begin a new episode.
    """

    config: Config
    policy: Policy
    action: ActionSpec
    observation: ObservationSpec
    action_shape: tuple[int, ...]
    exact_resume: bool
    num_shares: int
    env_steps: int
    updates: int
    broken_off: bool

    @property
    def theta(self) -> np.ndarray:
        """Parameters [P] of the policy that is scored and saved."""
        ...

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the observations so far."""
        ...

    def compile(self, note: Callable[[str], None]) -> Any:
        """Make ready to `advance`; ``note`` is told what takes the time."""
        ...

    def advance(self) -> list[dict[str, Any]]:
        """Make some updates, a fixed number throughout a run.

        Returns:
          A metrics row each, with ``env_steps``, ``update`` and ``train/...``.
        """
        ...

    def evaluate(self, first: int = 0) -> Evaluation:
        """Score the unperturbed policy on fresh episodes, seeded by the update they follow.

        They are numbered from ``first`` on; those of other numbers are other episodes.
        """
        ...

    def state(self) -> TrainerState:
        """A copy of everything the next update depends on; every process must call it."""
        ...

    def restore(self, state: TrainerState) -> None:
        """Continue from what `state` returned."""
        ...

    def begin_anew(self, start: int) -> None:
        """Forget all that was learned; ``start`` is the number of this start, the first was 0.

        Env steps, updates and the draws of noise and of episodes go on. Every process calls it.
        """
        ...

    def close(self) -> None:
        """Give back what the environments hold; it is used no more."""
        ...
