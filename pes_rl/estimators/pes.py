"""Persistent Evolution Strategies (Vicol, Metz and Sohl-Dickstein 2021, section 4)."""

from pes_rl.estimators.core import Estimator, NoiseRule, make_estimator
from pes_rl.estimators.shaping import UNSHAPED, Shaping


def pes(
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    *,
    shaping: Shaping = UNSHAPED,
    staggered: bool = True,
    decay: float = 1.0,
) -> Estimator:
    """New noise every segment; weight: the sum of the noise drawn since the episode began.

    With ``decay`` below 1 earlier noise fades by it at every segment, which trades bias for
    variance: a decay of 0 is truncated ES.
    """
    return make_estimator(
        NoiseRule(period=segment_length, accumulate=True, decay=decay),
        num_pairs,
        perturb_std,
        segment_length,
        horizon,
        shaping,
        staggered,
    )
