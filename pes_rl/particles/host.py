"""N antithetic pairs on a host engine, unrolled segment by segment.

Pair i's members are particles 2 i (+) and 2 i + 1 (-).
"""

from __future__ import annotations

import numpy as np

from pes_rl import streams
from pes_rl.envs.simulator import Simulator
from pes_rl.estimators.core import Segment
from pes_rl.particles.crew import Tally, episode_rng
from pes_rl.particles.rollout import NOWHERE, Rollout, Spacing, Waypoints
from pes_rl.particles.workers import RemoteSimulator, make_crew
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine


class HostPopulation:
    """Antithetic pairs in a host simulator.

    Attributes:
      crew: the particles.
      episodes: int64 [N], episodes begun so far.
    """

    def __init__(
        self,
        simulator: Simulator | RemoteSimulator,
        policy: Policy,
        num_pairs: int,
        seed: int,
        *,
        observe: bool = True,
        first_pair: int = 0,
        spacing: Spacing = NOWHERE,
    ):
        """A population that has not begun an episode.

        Args:
          simulator: steps 2N particles.
          policy: acts for them.
          num_pairs: N.
          seed: of the start states.
          observe: collect the statistics of what live particles observe.
          first_pair: the first one's number; those before it are in other processes.
          spacing: where on their way the members are looked at.
        """
        self.crew = make_crew(simulator, policy, 2 * num_pairs)
        self.episodes = np.zeros(num_pairs, np.int64)
        self._seed, self._first_pair = seed, first_pair
        self._observe, self._spacing = observe, spacing

    def unroll(
        self, theta: np.ndarray, restart: np.ndarray, step_limit: np.ndarray, norm: Affine
    ) -> Rollout:
        """One segment, in float64.

        Args:
          theta: [N, 2, P] the members' parameters.
          restart: bool [N], pairs that begin an episode.
          step_limit: [N] env steps of this segment.
          norm: observation normalisation in force.
        """
        self._restart(np.flatnonzero(restart))
        n = len(restart)
        limit = np.repeat(step_limit, 2)
        tally = self.crew.unroll(
            theta.reshape(2 * n, -1), norm, limit, self._observe, self._spacing
        )
        segment = Segment(
            loss=-np.where(tally.unstable, 0, tally.reward).reshape(n, 2),
            steps=tally.steps.reshape(n, 2).astype(np.int32),
            ended=self.crew.ended.reshape(n, 2).copy(),
            invalid=tally.unstable.reshape(n, 2),
        )
        size = tally.first.shape[1] if self._observe else 0
        sums = (x[:, :size].reshape(n, 2, size).sum(axis=1) for x in (tally.first, tally.second))
        first, second = sums
        return Rollout(segment, first, second, self._waypoints(tally))

    def _waypoints(self, tally: Tally) -> Waypoints:
        pairs = len(self.episodes), 2
        kept = tally.seen, -tally.gained
        return Waypoints(*(x.reshape(*pairs, *x.shape[1:]) for x in kept))

    def blank(self) -> Rollout:
        """A rollout of no env step, of the right shapes."""
        size = self.crew.observation_size if self._observe else 0
        pairs = len(self.episodes)
        none, flags = np.zeros((pairs, 2)), np.zeros((pairs, 2), bool)
        sums = np.zeros((pairs, size))
        segment = Segment(none, none.astype(np.int32), flags, flags)
        nowhere = Tally.zeros(2 * pairs, self.crew.observation_size, self._spacing.number)
        return Rollout(segment, sums, sums, self._waypoints(nowhere))

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
        carried = dict(state)
        self.episodes[:] = carried.pop("episodes")
        self.crew.restore(carried)
