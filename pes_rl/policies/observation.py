"""From an environment's observation, whatever its structure, to the vector a policy takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from pes_rl.errors import shown

Kind = Literal["array", "choice", "dict", "tuple"]


@dataclass(frozen=True)
class ObservationSpec:
    """An observation space, flattened as `gymnasium.spaces.flatten` does.

    Attributes:
      kind: ``array`` (of numbers or of bits), ``choice`` (whole numbers, which become one-hot
        vectors), or ``dict`` and ``tuple`` of further spaces.
      shape: of an array or of choices; () for a single one.
      counts: how many values each choice has, in the order of the flattened array.
      start: the smallest value of each choice.
      keys: of a dict, in the order in which its parts are joined.
      parts: of a dict or a tuple.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    parts: tuple[ObservationSpec, ...] = ()

    @cached_property
    def size(self) -> int:
        """O, the length of a flattened observation."""
        if self.kind == "array":
            return math.prod(self.shape)
        return sum(self.counts) if self.kind == "choice" else sum(p.size for p in self.parts)

    def flatten(self, observation: Any) -> np.ndarray:
        """One observation as float64 [O], or n of them, stacked in every part, as [n, O].

        Raises ValueError, which says what was expected, where it is not of this space.
        """
        if self.kind == "array":
            return self._rows(np.asarray(observation, np.float64))
        if self.kind == "choice":
            return self._one_hot(self._rows(np.asarray(observation)))
        return np.concatenate([p.flatten(o) for p, o in self._pairs(observation)], axis=-1)

    def describe(self) -> dict[str, Any]:
        """The same as plain data for JSON; what is empty is left out."""
        parts = [part.describe() for part in self.parts]
        plain = {
            "kind": self.kind,
            "shape": list(self.shape),
            "counts": list(self.counts),
            "start": list(self.start),
            "keys": list(self.keys),
            "parts": parts,
        }
        return {name: value for name, value in plain.items() if value}

    @classmethod
    def from_description(cls, plain: Mapping[str, Any]) -> ObservationSpec:
        """What `describe` told of; KeyError, TypeError or ValueError where it tells of nothing."""
        if plain["kind"] not in ("array", "choice", "dict", "tuple"):
            raise ValueError(f"unknown kind of observation {shown(plain['kind'])}")
        shape, counts, start = (
            tuple(int(number) for number in plain.get(name, ()))
            for name in ("shape", "counts", "start")
        )
        keys = tuple(str(key) for key in plain.get("keys", ()))
        parts = tuple(cls.from_description(part) for part in plain.get("parts", ()))
        spec = cls(plain["kind"], shape, counts, start, keys, parts)
        choices = math.prod(shape) if spec.kind == "choice" else 0
        named = len(parts) if spec.kind == "dict" else 0
        if min((*shape, *counts), default=0) < 0 or len(counts) != choices:
            raise ValueError(f"observation counts {shown(counts)} do not fit shape {shown(shape)}")
        if len(start) != choices or len(keys) != named:
            raise ValueError("observation parts do not fit their names")
        return spec

    def __str__(self) -> str:
        if self.kind == "dict":
            named = zip(self.keys, self.parts, strict=True)
            return "a dict of " + ", ".join(f"{key!r}: {part}" for key, part in named)
        if self.kind == "tuple":
            return "a tuple of " + ", ".join(map(str, self.parts))
        return f"shape {self.shape}"

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """An array of this shape as [number], or n stacked ones as [n, number]."""
        lead = array.ndim - len(self.shape)
        if array.dtype.kind not in "biuf" or lead not in (0, 1) or array.shape[lead:] != self.shape:
            raise ValueError(f"expected {self}, got shape {array.shape}")
        return array.reshape(*array.shape[:lead], math.prod(self.shape))

    def _one_hot(self, values: np.ndarray) -> np.ndarray:
        columns = []
        for i, (count, start) in enumerate(zip(self.counts, self.start, strict=True)):
            chosen = values[..., i, None] - start
            if not ((chosen >= 0) & (chosen < count)).all():
                raise ValueError(f"expected {start} to {start + count - 1}, got {values[..., i]}")
            columns.append(chosen == np.arange(count))
        return np.concatenate(columns, axis=-1).astype(np.float64)

    def _pairs(self, observation: Any) -> list[tuple[ObservationSpec, Any]]:
        if self.kind == "dict":
            if not isinstance(observation, Mapping) or set(observation) != set(self.keys):
                raise ValueError(f"expected {self}, got {_outline(observation)}")
            observation = [observation[key] for key in self.keys]
        elif not isinstance(observation, Sequence) or len(observation) != len(self.parts):
            raise ValueError(f"expected {self}, got {_outline(observation)}")
        return list(zip(self.parts, observation, strict=True))


def array_of(shape: tuple[int, ...]) -> ObservationSpec:
    """Observations that are arrays of this shape."""
    return ObservationSpec("array", shape)


def _outline(observation: Any) -> str:
    if isinstance(observation, Mapping):
        return f"a dict of {', '.join(map(repr, observation))}"
    return f"a {type(observation).__name__}"
