"""Unroll a population of policies on a host engine: segments for training, episodes for scoring.

Particles are rows: pair i's members are rows 2 i (+) and 2 i + 1 (-). Only live ones are stepped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pes_rl import streams
from pes_rl.envs.simulator import Simulator
from pes_rl.estimators.core import Segment
from pes_rl.policies import Affine, Normalizer, Policy
from pes_rl.policies.acting import act_on_deviation


def episode_rng(seed: int, stream: int, index: int, episode: int) -> np.random.Generator:
    """The generator of one episode's reset, keyed by what it is for and not by who runs it."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, index, episode]))


@dataclass
class _Tally:
    """What happened to each particle since the segment began; arrays [n] or [n, O]."""

    reward: np.ndarray
    steps: np.ndarray
    unstable: np.ndarray
    deviation: np.ndarray
    deviation_squared: np.ndarray

    @classmethod
    def zeros(cls, n: int, observation_size: int) -> _Tally:
        sums = np.zeros((2, n, observation_size))
        return cls(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, bool), sums[0], sums[1])


class _Sums:
    """Sums of deviations and of their squares, both [R, O], in the order of the env steps.

    A few steps are kept and added at one stroke, which is cheaper; the running sum is the first
    term of each stroke, so the result does not depend on where the strokes fall.
    """

    _KEPT = 25

    def __init__(self, first: np.ndarray, second: np.ndarray):
        self._first, self._second, self._used = first, second, 0
        self._terms = np.empty((self._KEPT + 1, *first.shape))

    def room(self) -> int:
        """How many steps can be added, at least one, before the kept ones are settled."""
        if self._used == self._KEPT:
            self.total()
        return self._KEPT - self._used

    def next(self) -> np.ndarray:
        """Where to write the next deviation [R, O]; it must stay as it is."""
        self.room()
        self._used += 1
        return self._terms[self._used]

    def drop(self, steps: int) -> None:
        """Take back the last steps, which `room` announced together."""
        self._used -= steps

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Both sums over all steps so far."""
        terms, self._used = self._terms[: self._used + 1], 0
        terms[0] = self._first
        self._first = _in_order(terms)
        terms *= terms
        terms[0] = self._second
        self._second = _in_order(terms)
        return self._first, self._second


def _in_order(terms: np.ndarray) -> np.ndarray:
    """Sum over the first axis, one after the other: NumPy adds a lone column pairwise."""
    if terms[0].size == 1:
        return np.add.accumulate(terms, axis=0)[-1]
    return np.add.reduce(terms, axis=0)


class Crew:
    """Particles in their environments: present observation, hidden state, ended flag per row.

    Observations and hidden states are carried, never recomputed: derived physics fields lag the
    state, so a recomputed observation would differ from the one the policy is about to see.
    """

    def __init__(self, simulator: Simulator, policy: Policy, num_particles: int):
        self.simulator, self.policy = simulator, policy
        self.observation = np.zeros((num_particles, simulator.observation_size))
        self.hidden = np.zeros((num_particles, policy.state_size), np.float32)
        self.ended = np.zeros(num_particles, bool)

    def restart(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """New episodes in ``rows``."""
        if len(rows):
            self.observation[rows] = self.simulator.reset(rows, rngs)
            self.hidden[rows] = 0
            self.ended[rows] = False

    def unroll(self, theta: np.ndarray, norm: Affine, limit: np.ndarray, watch: bool) -> _Tally:
        """Advance every live row by up to ``limit`` [n] env steps with its own theta [n, P].

        ``watch`` collects the observations' statistics around ``norm.shift``.
        """
        tally = _Tally.zeros(len(limit), self.simulator.observation_size)
        while True:
            rows = np.flatnonzero(~self.ended & (tally.steps < limit))
            if not len(rows):
                return tally
            count = int((limit - tally.steps)[rows].min())
            # A simulation that breaks down may overflow on its way; it is found out at that step.
            with np.errstate(over="ignore", invalid="ignore"):
                own = theta if len(rows) == len(theta) else theta[rows]
                self._advance(rows, count, self.policy.unpack(own), norm, tally, watch)

    def _advance(self, rows, count, weights, norm, tally, watch) -> None:
        """Up to ``count`` env steps of fixed rows, stopping as soon as one of them ends."""
        policy, simulator, spec = self.policy, self.simulator, self.simulator.action
        observation, hidden = self.observation[rows], self.hidden[rows]
        sums = _Sums(tally.deviation[rows], tally.deviation_squared[rows])
        # Sums continue from where they stand: adding subtotals would round differently whenever
        # another row's end cuts the loop short.
        reward, steps = tally.reward[rows], 0

        def act(observation: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            deviation = np.subtract(observation, norm.shift, out=sums.next())
            return act_on_deviation(policy, spec, weights, norm, deviation, hidden)

        while steps < count:
            length = min(sums.room(), count - steps)
            stretch = simulator.stretch(rows, length)
            if stretch is not None:
                start = observation, hidden
                for _ in range(length):
                    action, hidden = act(observation, hidden)
                    observation = stretch.step(action)
                gains = stretch.settle()
                if gains is not None:
                    reward = _in_order(np.stack((reward, *gains)))
                    steps += length
                    continue
                # Something broke down: step by step, until it is found.
                observation, hidden = start
                sums.drop(length)
            action, hidden = act(observation, hidden)
            observation, gained, terminated, unstable = simulator.step(rows, action)
            steps += 1
            over = terminated | unstable
            if np.count_nonzero(over):
                reward += np.where(unstable, 0.0, gained)
                self.ended[rows] = over
                tally.unstable[rows] |= unstable
                break
            reward += gained
        self.observation[rows], self.hidden[rows] = observation, hidden
        tally.reward[rows] = reward
        tally.steps[rows] += steps
        if watch:
            tally.deviation[rows], tally.deviation_squared[rows] = sums.total()

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all carried arrays."""
        own = {"observation": self.observation, "hidden": self.hidden, "ended": self.ended}
        return {key: value.copy() for key, value in own.items()} | self.simulator.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.observation[:] = state["observation"]
        self.hidden[:] = state["hidden"]
        self.ended[:] = state["ended"]
        self.simulator.restore(state)


class Population:
    """N antithetic pairs on a host engine, unrolled segment by segment."""

    def __init__(
        self,
        make_simulator: Callable[[int], Simulator],
        policy: Policy,
        num_pairs: int,
        seed: int,
        reward_shift: float = 0.0,
        watch: bool = True,
        first_pair: int = 0,
    ):
        self.crew = Crew(make_simulator(2 * num_pairs), policy, 2 * num_pairs)
        self.episodes = np.zeros(num_pairs, np.int64)
        self._num_pairs, self._seed = num_pairs, seed
        self._reward_shift, self._watch = reward_shift, watch
        self._first_pair = first_pair  # pairs before it are in other processes

    def unroll(
        self, theta: np.ndarray, restart: np.ndarray, step_limit: np.ndarray, norm: Affine
    ) -> tuple[Segment, Normalizer, np.ndarray]:
        """One segment.

        Args:
          theta: [N, 2, P] the members' parameters.
          restart: bool [N], pairs that begin an episode.
          step_limit: [N] env steps of this segment.
          norm: observation normalisation in force.

        Returns:
          The segment (loss float64: minus the shifted reward), the moments of what valid pairs
          observed, and the plain segment return [N, 2].
        """
        self._restart(np.flatnonzero(restart))
        n = 2 * self._num_pairs
        limit = np.repeat(step_limit, 2)
        tally = self.crew.unroll(theta.reshape(n, -1), norm, limit, self._watch)
        shaped = tally.reward - self._reward_shift * tally.steps
        pairs = (self._num_pairs, 2)
        segment = Segment(
            loss=-np.where(tally.unstable, 0, shaped).reshape(pairs),
            steps=tally.steps.reshape(pairs).astype(np.int32),
            ended=self.crew.ended.reshape(pairs).copy(),
            invalid=tally.unstable.reshape(pairs),
        )
        return segment, self._observed(tally, segment, norm), tally.reward.reshape(pairs)

    def _observed(self, tally: _Tally, segment: Segment, norm: Affine) -> Normalizer:
        """Moments of the observations of the pairs whose simulations stayed stable."""
        return self._moments(tally, np.repeat(~segment.invalid.any(axis=1), 2), norm)

    def _moments(self, tally: _Tally, kept: np.ndarray, norm: Affine) -> Normalizer:
        total = int(tally.steps[kept].sum()) if self._watch else 0
        if total == 0:
            return Normalizer.empty(len(norm.shift))
        mean = tally.deviation[kept].sum(axis=0) / total
        m2 = tally.deviation_squared[kept].sum(axis=0) - total * mean**2
        return Normalizer(total, norm.shift + mean, np.maximum(m2, 0))

    def _restart(self, pairs: np.ndarray) -> None:
        rows = (2 * pairs[:, None] + [0, 1]).ravel()
        # Equal generators for both members: common random numbers.
        rngs = [
            episode_rng(self._seed, streams.RESET, self._first_pair + int(i), int(self.episodes[i]))
            for i in pairs
            for _ in range(2)
        ]
        self.crew.restart(rows, rngs)
        self.episodes[pairs] += 1

    def state(self) -> dict[str, np.ndarray]:
        """Copies of everything the next segment depends on."""
        return {"episodes": self.episodes.copy(), **self.crew.state()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.episodes[:] = state["episodes"]
        self.crew.restore(state)


def play(
    crew: Crew, theta: np.ndarray, norm: Affine, horizon: int, rngs: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    """One full episode per row with the same theta [P]: returns [n] and lengths [n]."""
    n = len(crew.ended)
    crew.restart(np.arange(n), rngs)
    particles = np.broadcast_to(theta, (n, theta.size))
    tally = crew.unroll(particles, norm, np.full(n, horizon), watch=False)
    return tally.reward, tally.steps
