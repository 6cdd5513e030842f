"""Vanilla evolution strategies: one update per full episode (Salimans et al. 2017)."""

from pes_rl.estimators.core import Estimator, NoiseRule, make_estimator
from pes_rl.estimators.shaping import UNSHAPED, Shaping


def es(
    num_pairs: int, perturb_std: float, horizon: int, *, shaping: Shaping = UNSHAPED
) -> Estimator:
    """New noise every episode, one segment per episode (K = T); weight: that noise."""
    return make_estimator(
        NoiseRule(period=None, accumulate=False),
        num_pairs,
        perturb_std,
        horizon,
        horizon,
        shaping,
        False,
    )
