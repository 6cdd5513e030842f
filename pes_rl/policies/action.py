"""From a policy's output to an action of the environment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

_UNBOUNDED = 1e30  # environments write the largest float for a side that has no bound


@dataclass(frozen=True)
class ActionSpec:
    """An action space, and how a policy's output of length ``size`` becomes an action in it.

    Attributes:
      kind: ``box``, numbers in [low, high]; ``discrete``, one choice, that of the largest output;
        ``multi-discrete``, a choice for each group of outputs; ``multi-binary``, whether an output
        is positive.
      size: length of the policy's output.
      low: float32 lower bounds of a box, -inf where there is none; empty for the other kinds.
      high: upper bounds, likewise.
      start: the number of the first choice; of multi-discrete one for each group.
      choices: how many each group of multi-discrete has.
      mapping: what a box does with outputs. ``scale``: an output of -1 to 1 spans a side that is
        bounded on both ends, so 0 is its middle. ``clip``: outputs are actions as they are. What
        lies beyond the bounds is clipped either way, and in [-1, 1] both are the same.
    """

    kind: Literal["box", "discrete", "multi-discrete", "multi-binary"]
    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int | tuple[int, ...] = 0
    choices: tuple[int, ...] = ()
    mapping: Literal["scale", "clip"] = "scale"

    def __post_init__(self) -> None:
        bounds = self.size if self.kind == "box" else 0
        groups = sum(self.choices) == self.size if self.kind == "multi-discrete" else True
        known = self.kind in ("box", "discrete", "multi-discrete", "multi-binary")
        sized = {len(self.low), len(self.high)} == {bounds} and groups
        if not known or not sized or self.mapping not in ("scale", "clip"):
            raise ValueError(f"not an action space: {self}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action, flat: () for a single choice."""
        if self.kind == "discrete":
            return ()
        return (len(self.choices) if self.kind == "multi-discrete" else self.size,)

    @property
    def dtype(self) -> type[np.generic]:
        """What an action is made of."""
        return {"box": np.float32, "multi-binary": np.int8}.get(self.kind, np.int64)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of a box, float32 [A]."""
        return np.array(self.low, np.float32), np.array(self.high, np.float32)

    @cached_property
    def bounded(self) -> np.ndarray:
        """Which sides of a box have a bound at both ends, bool [A]."""
        low, high = self.bounds
        return (np.abs(low) < _UNBOUNDED) & (np.abs(high) < _UNBOUNDED)

    @cached_property
    def stretching(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Half width and middle of a box, float32 [A]; None where they are 1 and 0 all over."""
        low, high = (x.astype(np.float64) for x in self.bounds)
        bounded = self.bounded & (self.mapping == "scale")
        with np.errstate(invalid="ignore"):  # of sides without bounds
            half = np.where(bounded, (high - low) / 2, 1).astype(np.float32)
            middle = np.where(bounded, (high + low) / 2, 0).astype(np.float32)
        return None if (half == 1).all() and (middle == 0).all() else (half, middle)

    def to_action(self, xp: Any, output: Any) -> Any:
        """Actions [..., *shape] of outputs [..., size], by arrays of the namespace ``xp``.

        NaN stays NaN in a box, so that the engine sees an unstable member for what it is.
        """
        if self.kind == "box":
            if self.stretching is not None:
                half, middle = self.stretching
                output = output * half + middle
            low, high = self.bounds
            return xp.minimum(xp.maximum(output, low), high)
        if self.kind == "multi-binary":
            return (output > 0).astype(np.int8)
        if self.kind == "discrete":
            return xp.argmax(output, axis=-1) + self.start
        ends = np.cumsum(self.choices)
        groups = zip(ends - np.array(self.choices), ends, strict=True)
        chosen = [xp.argmax(output[..., first:end], axis=-1) for first, end in groups]
        return xp.stack(chosen, axis=-1) + np.asarray(self.start)
