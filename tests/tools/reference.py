"""A slow float64 NumPy reference of every estimator, written from the definitions.

It loops over pairs, members and steps, keeps its own clocks, limits, accumulators and restarts,
and shares no code with `pes_rl`. Randomness is the only thing it takes from there: the noise of
every update and the start states, both recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pes_rl.policies.normalizer import Normalizer

ENDLESS = 2**31 - 1  # the clock limit that stands for an infinite horizon


class Drifter:
    """The NumPy twin of `tests.tools.toy_problems.Drifter`: theta decides how long episodes are."""

    def __init__(self, cap: float):
        self.cap = cap

    def begin(self, start: np.ndarray) -> tuple:
        """State of a member whose episode begins: time, position, fuel spent, start."""
        return 0, np.array([start[0], 0.0]), 0.0, start

    def step(self, theta: np.ndarray, state: tuple) -> tuple[tuple, float, bool]:
        time, x, spent, start = state
        push = math.sin(1.7 * time + start[1])
        x = np.array(
            [0.8 * x[0] + 0.3 * x[1] + 0.2 * theta[0], 0.7 * x[1] - 0.2 * x[0] + theta[1] * push]
        )
        spent = spent + 0.6 + 0.4 * push + 0.5 * theta[2] * x[0] + 0.2 * start[0]
        loss = 0.5 * (x[0] ** 2 + x[1] ** 2) + theta[2] * x[1] - 0.5
        return (time + 1, x, spent, start), loss, spent > self.cap


class Expected(NamedTuple):
    """What the reference says of one update; per pair [N] or per member [N, 2]."""

    gradient: np.ndarray
    restart: np.ndarray
    step_limit: np.ndarray
    loss: np.ndarray
    charged: np.ndarray
    steps: np.ndarray
    ended: np.ndarray
    clock: np.ndarray
    limit: np.ndarray
    zero_update: bool


class Reference:
    """One estimator over N pairs: call `update` once per update, in order."""

    def __init__(
        self,
        name: str,
        problem: Drifter,
        first_limits: np.ndarray,
        *,
        perturb_std: float,
        segment_length: int,
        horizon: int | None,
        noise_period: int | None = None,
        shaping: str = "none",
        num_top_pairs: int | None = None,
        discount: float = 1.0,
        trace_decay: float = 1.0,
        valued: bool = False,
    ):
        self.discount, self.decay = discount, discount**segment_length * trace_decay
        # Of the problem's inputs of a state, the loss to go; to be set before an update.
        self.value: Callable[[np.ndarray], float] = lambda inputs: 0.0
        self.valued = valued
        self.problem, self.sigma = problem, perturb_std
        self.K, self.T = segment_length, ENDLESS if horizon is None else horizon
        # The table of docs/estimators.md: after how many steps noise is redrawn within an episode
        # (None: never), and whether the weight is the sum of the draws or the one in force.
        self.period, self.sums = {
            "es": (None, False),
            "truncated-es": (self.K, False),
            "pes": (self.K, True),
            "es-single": (None, False),
            "gpes": (noise_period, True),
        }[name]
        self.shaping = ReferenceShaping(shaping, num_top_pairs)
        self.N = len(first_limits)
        self.limit = [int(limit) for limit in first_limits]
        self.clock = [0] * self.N
        self.noise = [None] * self.N
        self.total = [None] * self.N
        self.ended = [[False, False] for _ in range(self.N)]
        self.states = [[None, None] for _ in range(self.N)]
        self.expected = np.zeros((self.N, 2))

    def update(self, theta: np.ndarray, noise: np.ndarray, starts: np.ndarray) -> Expected:
        """Advance every pair by one segment, given noise [N, P] and start states [N, 2, ...]."""
        loss, steps = np.zeros((self.N, 2)), np.zeros((self.N, 2), int)
        charged = np.zeros((self.N, 2))
        live = np.zeros((self.N, 2), bool)
        restart, step_limit = np.zeros(self.N, bool), np.zeros(self.N, int)
        for i in range(self.N):
            restart[i] = self.clock[i] == 0
            if restart[i]:
                self._restart(i, starts[i])
            self._take_noise(i, noise[i], bool(restart[i]))
            step_limit[i] = min(self.K, self.limit[i] - self.clock[i])
            for member, sign in enumerate((+1.0, -1.0)):
                live[i, member] = not self.ended[i][member]
                particle = theta + sign * self.sigma * self.noise[i]
                if restart[i]:
                    self.expected[i, member] = self._value(i, member)
                losses = self._unroll(i, member, particle, step_limit[i])
                loss[i, member], steps[i, member] = sum(losses), len(losses)
                charged[i, member] = self._charge(i, member, losses)
        delta, count, zero = self.shaping.differences(charged, live)
        gradient = np.zeros(len(theta))
        for i in range(self.N):
            weight = self.total[i] if self.sums else self.noise[i]
            gradient += weight * delta[i] / (2 * self.sigma * count)
        ended = np.array(self.ended)
        for i in range(self.N):
            self.clock[i] += int(step_limit[i])
            if all(self.ended[i]) or self.clock[i] == self.limit[i]:
                self.clock[i], self.limit[i] = 0, self.T
        return Expected(
            gradient,
            restart,
            step_limit,
            loss,
            charged,
            steps,
            ended,
            np.array(self.clock),
            np.array(self.limit),
            zero,
        )

    def _restart(self, i: int, starts: np.ndarray) -> None:
        np.testing.assert_array_equal(starts[0], starts[1], "members start from different states")
        self.total[i] = np.zeros(0)
        self.ended[i] = [False, False]
        self.states[i] = [self.problem.begin(start) for start in starts]

    def _take_noise(self, i: int, given: np.ndarray, restart: bool) -> None:
        """Accept new noise where this estimator draws it, insist on the old one elsewhere."""
        if restart:
            self.total[i] = given
        elif self.period is not None and self.clock[i] % self.period == 0:
            assert not np.array_equal(given, self.noise[i]), f"pair {i} did not draw new noise"
            self.total[i] = self.decay * self.total[i] + given
        else:
            np.testing.assert_array_equal(given, self.noise[i], f"pair {i} drew noise too early")
            self.total[i] = self.decay * (self.total[i] - given) + given
        self.noise[i] = given

    def _unroll(self, i: int, member: int, particle: np.ndarray, limit: int) -> list[float]:
        """The losses of the steps that one member lives in this segment."""
        losses: list[float] = []
        while len(losses) < limit and not self.ended[i][member]:
            state, loss, done = self.problem.step(particle, self.states[i][member])
            self.states[i][member], self.ended[i][member] = state, bool(done)
            losses.append(loss)
        return losses

    def _value(self, i: int, member: int) -> float:
        """What is expected of a member where it is; of one that has ended nothing."""
        if self.ended[i][member] or not self.valued:
            return 0.0
        return float(self.value(self.problem.inputs(self.states[i][member])))

    def _charge(self, i: int, member: int, losses: list[float]) -> float:
        """How much worse things went in this segment than was expected before it."""
        gone = sum(self.discount**t * loss for t, loss in enumerate(losses))
        before, after = self.expected[i, member], self._value(i, member)
        self.expected[i, member] = after
        return gone + self.discount ** len(losses) * after - before


class ReferenceShaping:
    """Every kind of shaping; holds the averages of ``running-std``."""

    def __init__(self, kind: str, num_top_pairs: int | None = None):
        self.kind, self.top = kind, num_top_pairs
        self.variance, self.weight = 0.0, 0.0

    def differences(self, loss: np.ndarray, live: np.ndarray) -> tuple[np.ndarray, int, bool]:
        """Shaped L+ - L- of every pair, the number of pairs averaged over, zero-update flag."""
        pairs = list(range(len(loss)))
        if self.top is not None and self.top < len(pairs):
            # A stable sort: of equal pairs the first ones are kept.
            best = {i: min(_live_losses(loss, live, [i]), default=math.inf) for i in pairs}
            pairs = sorted(pairs, key=best.get)[: self.top]
        losses = _live_losses(loss, live, pairs)
        utility, zero = self._utility(losses)
        delta = np.zeros(len(loss))
        for i in pairs:
            plus, minus = (
                utility(x) if alive else 0.0 for x, alive in zip(loss[i], live[i], strict=True)
            )
            delta[i] = plus - minus
        return delta, len(pairs), zero

    def _utility(self, losses: list[float]) -> tuple[Callable[[float], float], bool]:
        """What replaces a live member's loss, and whether the whole update is zero instead."""
        n = len(losses)
        if self.kind == "none":
            return (lambda x: x), False
        if self.kind == "centered-rank":
            if n < 2:
                return (lambda x: 0.0), False
            return (lambda x: _average_rank(x, losses) / (n - 1) - 0.5), False
        variance = float(np.var(losses)) if n else 0.0
        if self.kind == "running-std":
            if n:
                self.variance = 0.95 * self.variance + 0.05 * variance
                self.weight = 0.95 * self.weight + 0.05
            variance = self.variance / self.weight if self.weight else 0.0
        std = math.sqrt(variance)
        mean_size = float(np.mean(np.abs(losses))) if n else 0.0
        if std < 1e-8 * max(1.0, mean_size):
            return (lambda x: 0.0), True
        return (lambda x: x / std), False


def _live_losses(loss: np.ndarray, live: np.ndarray, pairs: list[int]) -> list[float]:
    return [float(loss[i, m]) for i in pairs for m in (0, 1) if live[i, m]]


def _average_rank(x: float, losses: list[float]) -> float:
    """Rank from 0 upwards; equal losses share the average of the ranks that they occupy."""
    return sum(y < x for y in losses) + (sum(y == x for y in losses) - 1) / 2


def union(one: Normalizer, other: Normalizer) -> Normalizer:
    """Statistics of both sets of observations, in float64 (Chan, Golub and LeVeque 1979)."""
    total = one.total + other.total
    if other.total == 0:
        return one
    delta = other.mean - one.mean
    mean = one.mean + delta * (other.total / total)
    m2 = one.m2 + other.m2 + delta**2 * (one.total * other.total / total)
    return Normalizer(total, mean, m2)
