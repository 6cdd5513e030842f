"""What any population hands back once it has been unrolled for one segment."""

from __future__ import annotations

from typing import NamedTuple

from pes_rl.estimators.core import HostArray, Segment


class Rollout(NamedTuple):
    """One segment of n pairs, and the sums of what their live members observed.

    Attributes:
      segment: what the estimator needs; the loss is minus the shifted reward.
      first: [n, O] sums over a pair's live steps of its observations' deviations from the shift of
        the normalisation in force; [n, 0] where observations are not normalised.
      second: [n, O] sums of the squares of these deviations, or [n, 0].
    """

    segment: Segment
    first: HostArray
    second: HostArray
