"""Value baselines: what a particle still has to lose, guessed from what it observes."""

from pes_rl.baselines.core import Baseline, Samples
from pes_rl.baselines.mlp import mlp
from pes_rl.baselines.none import none
from pes_rl.baselines.quadratic import quadratic

BASELINES = {"none": none, "quadratic": quadratic, "mlp": mlp}

__all__ = ["BASELINES", "Baseline", "Samples", "mlp", "none", "quadratic"]
