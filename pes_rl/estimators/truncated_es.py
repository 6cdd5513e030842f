"""Truncated evolution strategies: the biased baseline, blind to what comes after a segment.

State is carried per member from segment to segment (Vicol, Metz and Sohl-Dickstein 2021,
section 2).
"""

from pes_rl.estimators.core import Estimator, NoiseRule, make_estimator
from pes_rl.estimators.shaping import UNSHAPED, Shaping


def truncated_es(
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    *,
    shaping: Shaping = UNSHAPED,
    staggered: bool = True,
) -> Estimator:
    """New noise every segment; weight: that segment's noise alone.

    Its expectation is the derivative of each segment's loss through that segment's own parameters
    only: what a perturbation does to later segments is never credited to it.
    """
    return make_estimator(
        NoiseRule(period=segment_length, accumulate=False),
        num_pairs,
        perturb_std,
        segment_length,
        horizon,
        shaping,
        staggered,
    )
