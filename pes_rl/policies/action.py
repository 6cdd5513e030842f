"""From a policy's output to an action of the environment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class ActionSpec:
    """An action space: ``box`` of ``size`` numbers in [low, high], or ``discrete`` of ``size``.

    ``low`` and ``high`` (float32 values, infinite where unbounded) are empty for ``discrete``.
    ``size`` is the length of the policy's output either way; ``start`` is the first choice.
    """

    kind: Literal["box", "discrete"]
    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int = 0

    def __post_init__(self) -> None:
        bounds = self.size if self.kind == "box" else 0
        if self.kind not in ("box", "discrete") or {len(self.low), len(self.high)} != {bounds}:
            raise ValueError(f"not an action space: {self}")

    @cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.low, np.float32), np.array(self.high, np.float32)

    def to_action(self, xp: Any, output: Any) -> Any:
        """Actions of outputs [..., size]: clipped [..., size], or the choice [...] of the largest.

        NaN stays NaN, so that the engine sees an unstable member for what it is.
        """
        if self.kind == "discrete":
            return xp.argmax(output, axis=-1) + self.start
        low, high = self._bounds
        return xp.minimum(xp.maximum(output, low), high)
