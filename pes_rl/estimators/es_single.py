"""ES-Single (Vicol, Kolter and Swersky 2023, section 3), equal to NRES (Li et al. 2023)."""

from pes_rl.estimators.core import Estimator, NoiseRule, make_estimator
from pes_rl.estimators.shaping import UNSHAPED, Shaping


def es_single(
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    *,
    shaping: Shaping = UNSHAPED,
    staggered: bool = True,
) -> Estimator:
    """One draw of noise for a whole episode; weight: that noise, at every segment."""
    return make_estimator(
        NoiseRule(period=None, accumulate=False),
        num_pairs,
        perturb_std,
        segment_length,
        horizon,
        shaping,
        staggered,
    )
