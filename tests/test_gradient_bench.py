"""The bench of gradients asks any policy that `pes-rl train` trains."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gradient import Frozen, gradients
from pes_rl.policies.normalizer import Affine


@pytest.mark.parametrize("options", [{}, {"num_inputs": 3}])
def test_gradients_have_the_length_of_theta(options):
    options |= {"env": "Swimmer", "estimator": "es-single", "num_pairs": 2}
    options |= {"segment_length": 5, "horizon": 10, "num_threads": 1}
    size = options.get("num_inputs", 8)
    frozen = Frozen(np.zeros(2 * size), Affine.identity(size), 0, None)
    found = gradients(frozen, options, batch=20, batches=3, warmup=0)
    assert found.shape == (3, 2 * size) and np.isfinite(found).all() and found.any(axis=1).all()
