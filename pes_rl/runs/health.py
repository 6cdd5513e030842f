"""Whether a run learns anything: updates that moved nothing, simulations that break down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HOPELESS = 100  # updates; theta has stood still in all of them


@dataclass
class Health:
    """Counts over the whole run, saved with it.

    Attributes:
      idle: updates that moved nothing, since the gradient was zero.
      broken: those of them in which simulations broke down.
      barren: how many of the newest updates, without a gap, are such.
    """

    idle: int = 0
    broken: int = 0
    barren: int = 0

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Health:
        """As it was at a checkpoint, of which ``meta`` is what was saved beside the arrays."""
        return cls(**meta.get("health", {}))

    def count(self, row: Mapping[str, Any]) -> None:
        """Count one update's metrics row."""
        idle = row["train/grad_norm"] == 0
        broken = idle and row["train/invalid_particles"] > 0
        self.idle += idle
        self.broken += broken
        self.barren = self.barren + 1 if broken else 0

    def remark(self, updates: int) -> str | None:
        """What to tell about a run of so many updates, most of which moved nothing."""
        if 2 * self.idle <= updates:
            return None
        moved = f"{self.idle} of {updates} updates moved nothing"
        if 2 * self.broken > self.idle:
            return f"{moved}, for simulations broke down; lower learning_rate or perturb_std"
        return (
            f"{moved}, for all particles gained the same; try a larger perturb_std, and see "
            "whether actions lie within their bounds and rewards depend on them"
        )

    def failure(self, updates: int, best: float) -> str | None:
        """Why a run of so many updates, whose best evaluation is ``best``, has come to nothing."""
        if 0 < self.barren == updates:
            when = "in every update"
        elif self.barren >= _HOPELESS and best == -math.inf:
            when = f"in the last {self.barren} updates and in every evaluation"
        else:
            return None
        return (
            f"simulations broke down {when}; lower learning_rate or perturb_std, or see whether "
            "rewards and observations are finite"
        )
