"""Particles on a host engine: rows with their own parameters, stepped together while they live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pes_rl.envs.simulator import Gains, Simulator
from pes_rl.particles.rollout import NOWHERE, Spacing
from pes_rl.policies import Policy
from pes_rl.policies.acting import act_on_deviation
from pes_rl.policies.normalizer import Affine


def episode_rng(seed: int, stream: int, index: int, episode: int) -> np.random.Generator:
    """The generator of one episode's reset, keyed by what it is for and not by who runs it."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, index, episode]))


class Tally(NamedTuple):
    """What happened to each of n particles since a segment began; its arrays are added to.

    Attributes:
      reward: [n] sum of the rewards of the steps it lived.
      steps: int64 [n], how many these were.
      unstable: bool [n], whether its simulation broke down.
      first: [n, O] sum of its observations' deviations from the normaliser's shift.
      second: [n, O] sum of the squares of these deviations.
      seen: [n, M + 1, O] the deviations at the beginning of each interval, and at the end.
      gained: [n, M] sum of an interval's rewards, discounted to its beginning.
    """

    reward: np.ndarray
    steps: np.ndarray
    unstable: np.ndarray
    first: np.ndarray
    second: np.ndarray
    seen: np.ndarray
    gained: np.ndarray

    @classmethod
    def zeros(cls, n: int, observation_size: int, intervals: int = 0) -> Tally:
        """Nothing has happened."""
        first, second = np.zeros((2, n, observation_size))
        seen = np.zeros((n, intervals + 1, observation_size if intervals else 0))
        gained = np.zeros((n, intervals))
        count, flag = np.zeros(n, np.int64), np.zeros(n, bool)
        return cls(np.zeros(n), count, flag, first, second, seen, gained)


class Playing(Protocol):
    """Particles that play: a `Crew`, here or in other processes."""

    ended: np.ndarray

    def restart(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """New episodes in ``rows``."""
        ...

    def unroll(
        self,
        theta: np.ndarray,
        norm: Affine,
        limit: np.ndarray,
        observe: bool,
        spacing: Spacing = NOWHERE,
    ) -> Tally:
        """Advance every live row by up to ``limit`` [n] env steps with its own theta [n, P]."""
        ...


class Crew:
    """Particles in their environments: present observation, hidden state, ended flag per row.

    Observations and hidden states are carried, never recomputed: derived physics fields lag the
    state, so a recomputed observation would differ from the one the policy is about to see.
    """

    def __init__(self, simulator: Simulator, policy: Policy, num_particles: int):
        self.simulator, self.policy = simulator, policy
        self.observation_size = policy.observation_size  # of the simulator's, the first ones
        self.observation = np.zeros((num_particles, self.observation_size))
        self.hidden = np.zeros((num_particles, policy.state_size), np.float32)
        self.ended = np.zeros(num_particles, bool)

    def restart(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """New episodes in ``rows``."""
        if len(rows):
            self.observation[rows] = self._seen(self.simulator.reset(rows, rngs))
            self.hidden[rows] = 0
            self.ended[rows] = False

    def unroll(
        self,
        theta: np.ndarray,
        norm: Affine,
        limit: np.ndarray,
        observe: bool,
        spacing: Spacing = NOWHERE,
    ) -> Tally:
        """Advance every live row by up to ``limit`` [n] env steps with its own theta [n, P].

        ``observe`` sums up the observations' deviations from ``norm.shift``; ``spacing`` says where
        on their way they are kept.
        """
        tally = Tally.zeros(len(limit), self.observation_size, spacing.number)
        # A simulation that breaks down may overflow on its way; it is found out at that step.
        with np.errstate(over="ignore", invalid="ignore"):
            while True:
                rows = np.flatnonzero(~self.ended & (tally.steps < limit))
                if not len(rows):
                    break
                own = theta if len(rows) == len(theta) else theta[rows]
                count = int((limit - tally.steps)[rows].min())
                self._stretch(rows, count, self.policy.unpack(own), norm, tally, observe, spacing)
            if spacing.number:
                tally.seen[:, -1] = self.observation - norm.shift
        return tally

    def _stretch(
        self,
        rows: np.ndarray,
        count: int,
        weights: tuple[np.ndarray, ...],
        norm: Affine,
        tally: Tally,
        observe: bool,
        spacing: Spacing,
    ) -> None:
        """Some env steps of ``rows``, at most ``count``; their gains are added to the tally."""
        policy, spec = self.policy, self.simulator.action
        stretch = self.simulator.stretch(rows, count)
        observation, hidden = self.observation[rows], self.hidden[rows]
        deviations = np.empty((stretch.length, *observation.shape))
        taken = 0
        while taken < stretch.length:
            deviation = np.subtract(observation, norm.shift, out=deviations[taken])
            action, hidden = act_on_deviation(policy, spec, weights, norm, deviation, hidden)
            observation = self._seen(stretch.step(action))
            taken += 1
        self.observation[rows], self.hidden[rows] = observation, hidden
        gains, deviations = stretch.settle(), deviations[:taken]
        lived, over = _lives(gains)
        reward = gains.reward
        if over.any():
            dead = np.arange(taken)[:, None] >= lived
            reward = np.where(dead | gains.unstable, 0.0, reward)
            deviations[dead] = 0.0
            tally.unstable[rows] |= (gains.unstable & ~dead).any(axis=0)
            self.ended[rows] = over
        tally.reward[rows] = add_in_order(tally.reward[rows], reward)
        if spacing.number:
            _pass_by(tally, rows, deviations, reward, spacing)
        tally.steps[rows] += lived
        if observe:
            tally.first[rows] = add_in_order(tally.first[rows], deviations)
            np.multiply(deviations, deviations, out=deviations)
            tally.second[rows] = add_in_order(tally.second[rows], deviations)

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        return observation[:, : self.observation_size]

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all carried arrays; of a particle that has ended nothing is carried."""
        carried = {"observation": self.observation.copy(), "hidden": self.hidden.copy()}
        carried |= self.simulator.state()
        for rows in carried.values():
            rows[self.ended] = 0
        return {**carried, "ended": self.ended.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.observation[:] = state["observation"]
        self.hidden[:] = state["hidden"]
        self.ended[:] = state["ended"]
        self.simulator.restore(state)


def _pass_by(
    tally: Tally, rows: np.ndarray, deviations: np.ndarray, reward: np.ndarray, spacing: Spacing
) -> None:
    """Keep what ``rows`` saw and gained in some env steps; all of them took equally many before."""
    before = int(tally.steps[rows[0]])
    for i, gain in enumerate(reward):
        interval, since = divmod(before + i, spacing.interval)
        if since == 0:
            tally.seen[rows, interval] = deviations[i]
        tally.gained[rows, interval] += spacing.discount**since * gain


def add_in_order(total: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """``total`` plus ``terms`` [S, ...], one after the other.

    So the bits of a sum do not depend on how many terms are added at a time. NumPy adds along the
    first axis in this order, but for a lone column, which it adds pairwise.
    """
    everything = np.concatenate((total[None], terms))
    if total.size == 1:
        return np.add.accumulate(everything, axis=0)[-1]
    return np.add.reduce(everything, axis=0)


def play(
    crew: Playing,
    theta: np.ndarray,
    norm: Affine,
    horizon: int,
    rngs: Sequence[np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """One full episode per row with the same theta [P]: returns [n] and lengths [n].

    The return of an episode whose simulation broke down is NaN.
    """
    n = len(crew.ended)
    crew.restart(np.arange(n), rngs)
    particles = np.broadcast_to(theta, (n, theta.size))
    tally = crew.unroll(particles, norm, np.full(n, horizon), observe=False)
    return np.where(tally.unstable, np.nan, tally.reward), tally.steps


def _lives(gains: Gains) -> tuple[np.ndarray, np.ndarray]:
    """How many of S steps each of R particles lived [R], and whether it ended with them [R]."""
    ends = gains.terminated | gains.unstable
    over: np.ndarray = ends.max(axis=0)
    return np.where(over, ends.argmax(axis=0) + 1, len(ends)), over
