"""The starts of a run: one that has come to nothing is given up, and training begins anew."""

from __future__ import annotations

import math
from typing import NamedTuple

from pes_rl.config import Config


class Start(NamedTuple):
    """One start of a run.

    Attributes:
      number: 0 for the first.
      env_steps: of the run when it began.
      best: highest of its evaluations, -inf before the first.
    """

    number: int = 0
    env_steps: int = 0
    best: float = -math.inf

    def scored(self, value: float) -> Start:
        """The start after an evaluation, which is NaN where an episode broke down."""
        return self._replace(best=value) if value > self.best else self

    def next(self, env_steps: int) -> Start:
        """The one that follows it."""
        return Start(self.number + 1, env_steps)

    def is_nothing(self, config: Config, env_steps: int) -> bool:
        """Whether it has had its time, and none of its evaluations reached what was asked."""
        if config.retry_after is None or config.retry_below is None:
            return False
        return env_steps - self.env_steps >= config.retry_after and self.best < config.retry_below
