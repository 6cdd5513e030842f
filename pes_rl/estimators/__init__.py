"""Gradient estimators over antithetic pairs: es, truncated_es, pes, es_single, gpes."""

from pes_rl.estimators.core import (
    ALL_HERE,
    Estimator,
    EstimatorState,
    Info,
    Perturbation,
    Placement,
    Segment,
    members,
)
from pes_rl.estimators.es import es
from pes_rl.estimators.es_single import es_single
from pes_rl.estimators.gpes import gpes
from pes_rl.estimators.pes import pes
from pes_rl.estimators.shaping import Shaping
from pes_rl.estimators.truncated_es import truncated_es

ESTIMATORS = {
    "es": es,
    "truncated-es": truncated_es,
    "pes": pes,
    "es-single": es_single,
    "gpes": gpes,
}

__all__ = [
    "ALL_HERE",
    "ESTIMATORS",
    "Estimator",
    "EstimatorState",
    "Info",
    "Perturbation",
    "Placement",
    "Segment",
    "Shaping",
    "es",
    "es_single",
    "gpes",
    "members",
    "pes",
    "truncated_es",
]
