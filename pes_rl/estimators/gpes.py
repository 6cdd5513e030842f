"""Generalised PES (Li et al. 2023, section 3): noise held for a fixed number of env steps."""

from pes_rl.estimators.core import Estimator, NoiseRule, make_estimator
from pes_rl.estimators.shaping import UNSHAPED, Shaping


def gpes(
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    noise_period: int,
    *,
    shaping: Shaping = UNSHAPED,
    staggered: bool = True,
    decay: float = 1.0,
) -> Estimator:
    """New noise every ``noise_period`` env steps of the episode; weight: the sum of the draws.

    A period of K is PES, a period of T is ES-Single. With ``decay`` below 1 noise that is no longer
    in force fades by it at every segment.
    """
    if noise_period <= 0 or noise_period % segment_length:
        raise ValueError(
            f"noise_period must be a positive multiple of segment_length {segment_length}, "
            f"not {noise_period}"
        )
    return make_estimator(
        NoiseRule(period=noise_period, accumulate=True, decay=decay),
        num_pairs,
        perturb_std,
        segment_length,
        horizon,
        shaping,
        staggered,
    )
