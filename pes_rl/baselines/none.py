"""No baseline: nothing is expected of any state."""

import jax.numpy as jnp

from pes_rl.baselines.core import Baseline


def none() -> Baseline:
    """The value 0 everywhere; nothing is learned."""
    return Baseline(
        lambda key, observation_size, dtype: (),
        lambda state, inputs: jnp.zeros(inputs.shape[:-1], inputs.dtype),
        lambda state, samples: state,
        lambda observation_size: 0,
    )
