"""N antithetic pairs on a host engine, unrolled segment by segment.

Pair i's members are particles 2 i (+) and 2 i + 1 (-). Pairs are split into crews, each with a
thread of its own: while one computes actions in Python, the others are in the physics, which does
not hold the interpreter's lock. How pairs are split changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pes_rl import streams
from pes_rl.envs.simulator import Simulator
from pes_rl.estimators.core import Segment
from pes_rl.particles.crew import Crew, Tally, episode_rng
from pes_rl.particles.rollout import Rollout
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine


class HostPopulation:
    """Antithetic pairs in host simulators.

    Attributes:
      crews: the particles, of consecutive pairs each.
      episodes: int64 [N], episodes begun so far.
    """

    def __init__(
        self,
        make_simulator: Callable[[int], Simulator],
        policy: Policy,
        num_pairs: int,
        seed: int,
        *,
        reward_shift: float = 0.0,
        observe: bool = True,
        num_crews: int = 1,
        first_pair: int = 0,
    ):
        """A population that has not begun an episode.

        Args:
          make_simulator: makes one for so many particles.
          policy: acts for them.
          num_pairs: N.
          seed: of the start states.
          reward_shift: subtracted from every reward.
          observe: collect the statistics of what live particles observe.
          num_crews: in how many parts the pairs are stepped.
          first_pair: the first one's number; those before it are in other processes.
        """
        self._pairs = np.array_split(np.arange(num_pairs), num_crews)
        self.crews = [
            Crew(make_simulator(2 * len(pairs)), policy, 2 * len(pairs)) for pairs in self._pairs
        ]
        self.episodes = np.zeros(num_pairs, np.int64)
        self._seed, self._first_pair = seed, first_pair
        self._reward_shift, self._observe = reward_shift, observe
        self._pool = ThreadPoolExecutor(num_crews, "crew")

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

        def work(crew: Crew, pairs: np.ndarray) -> Tally:
            self._restart(crew, pairs, restart[pairs])
            members = theta[pairs].reshape(2 * len(pairs), -1)
            return crew.unroll(members, norm, np.repeat(step_limit[pairs], 2), self._observe)

        others = [self._pool.submit(work, *part) for part in self._parts()[1:]]
        tallies = [work(*self._parts()[0]), *(other.result() for other in others)]
        tally = Tally(*map(np.concatenate, zip(*tallies, strict=True)))
        shaped = tally.reward - self._reward_shift * tally.steps
        ended = np.concatenate([crew.ended for crew in self.crews])
        n, size = len(restart), tally.first.shape[1] if self._observe else 0
        segment = Segment(
            loss=-np.where(tally.unstable, 0, shaped).reshape(n, 2),
            steps=tally.steps.reshape(n, 2).astype(np.int32),
            ended=ended.reshape(n, 2),
            invalid=tally.unstable.reshape(n, 2),
        )
        sums = (x[:, :size].reshape(n, 2, size).sum(axis=1) for x in (tally.first, tally.second))
        return Rollout(segment, *sums)

    def _parts(self) -> list[tuple[Crew, np.ndarray]]:
        return list(zip(self.crews, self._pairs, strict=True))

    def _restart(self, crew: Crew, pairs: np.ndarray, restart: np.ndarray) -> None:
        begun = np.flatnonzero(restart)
        # Equal generators for both members: common random numbers.
        rngs = [
            episode_rng(self._seed, streams.RESET, self._first_pair + int(i), int(self.episodes[i]))
            for i in pairs[begun]
            for _ in range(2)
        ]
        crew.restart((2 * begun[:, None] + [0, 1]).ravel(), rngs)
        self.episodes[pairs[begun]] += 1

    def state(self) -> dict[str, np.ndarray]:
        """Copies of everything the next segment depends on, by particle but for ``episodes``."""
        states = [crew.state() for crew in self.crews]
        joined = {name: np.concatenate([s[name] for s in states]) for name in states[0]}
        return {"episodes": self.episodes.copy(), **joined}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.episodes[:] = state["episodes"]
        particles = {name: rows for name, rows in state.items() if name != "episodes"}
        for crew, pairs in self._parts():
            first, after = 2 * pairs[0], 2 * (pairs[-1] + 1)
            crew.restore({name: rows[first:after] for name, rows in particles.items()})
