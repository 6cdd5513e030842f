"""The bench of gradients asks any policy that `pes-rl train` trains."""

from __future__ import annotations

import numpy as np

from benchmarks.gradient import Frozen, gradients
from pes_rl.policies.normalizer import Affine


def test_gradients_of_a_policy_that_gets_part_of_an_observation():
    options = {"env": "Swimmer", "num_inputs": 3, "estimator": "es-single", "num_pairs": 2}
    options |= {"segment_length": 5, "horizon": 10, "num_threads": 1}
    frozen = Frozen(np.zeros(2 * 3), Affine.identity(3), 0, None)
    found = gradients(frozen, options, batch=20, batches=3, warmup=0)
    assert found.shape == (3, 6) and np.isfinite(found).all() and found.any(axis=1).all()
