"""What any population hands back once it has been unrolled for one segment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pes_rl.estimators.core import HostArray, Segment


class Spacing(NamedTuple):
    """Where on its way through a segment a particle is looked at, for discounting and baselines.

    Attributes:
      number: M, intervals of a segment; 0 looks nowhere.
      interval: env steps of each, fewer of the last one.
      discount: what a loss counts less for each env step that it comes later.
    """

    number: int
    interval: int
    discount: float


NOWHERE = Spacing(0, 1, 1.0)


class Waypoints(NamedTuple):
    """What n pairs' members passed, at the beginning of each of M intervals and at the end.

    Attributes:
      deviation: [n, 2, M + 1, O] the observations' deviations from the shift of the normalisation
        in force; of one that a member did not live to see anything may stand here.
      loss: [n, 2, M] sum of the interval's losses, discounted to its beginning.
    """

    deviation: HostArray
    loss: HostArray

    @classmethod
    def nowhere(cls, num_pairs: int) -> Waypoints:
        """Nothing was looked at."""
        return cls(np.zeros((num_pairs, 2, 1, 0)), np.zeros((num_pairs, 2, 0)))


class Rollout(NamedTuple):
    """One segment of n pairs, and the sums of what their live members observed.

    Attributes:
      segment: what the estimator needs; the loss is minus the reward.
      first: [n, O] sums over a pair's live steps of its observations' deviations from the shift of
        the normalisation in force; [n, 0] where observations are not normalised.
      second: [n, O] sums of the squares of these deviations, or [n, 0].
      waypoints: where members were on their way, as far as somebody wants to know.
    """

    segment: Segment
    first: HostArray
    second: HostArray
    waypoints: Waypoints
