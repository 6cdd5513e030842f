"""Telescoping losses (Vicol et al. 2021; Vicol, Kolter and Swersky 2023, section 4.2): when only
the state at the end counts, online methods are given the progress of every step.

    p_t = L_t - L_{t-1},  L_0 = 0:    p_1 + ... + p_T = L_T
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from pes_rl.problems.protocol import Carry, Problem, Step


class Telescoped(NamedTuple):
    """The problem's carry, and its loss at the last step, scalar."""

    carry: Carry
    loss: Array


@dataclass(frozen=True, eq=False)
class Telescoping:
    """A problem whose losses over an episode add up to the last one of another problem.

    Attributes:
      problem: its loss has to judge the state alone, with the same data at every step of an
        episode: then the differences are small, and their noise too.
    """

    problem: Problem

    def init(self, key: Any, theta: Array) -> Telescoped:
        """The problem's start, with no loss yet."""
        return Telescoped(self.problem.init(key, theta), jnp.zeros((), theta.dtype))

    def step(self, key: Any, theta: Array, carry: Telescoped) -> tuple[Telescoped, Step]:
        """The problem's step, and by how much its loss has grown."""
        after, out = self.problem.step(key, theta, carry.carry)
        return Telescoped(after, out.loss), Step(out.loss - carry.loss, out.done)
