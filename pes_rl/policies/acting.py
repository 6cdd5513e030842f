"""From an observation to an action: the arithmetic that training and saved policies share."""

from __future__ import annotations

import numpy as np

from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Affine
from pes_rl.policies.protocol import Array, Policy


def act(
    policy: Policy,
    action: ActionSpec,
    weights: tuple[Array, ...],
    affine: Affine,
    obs: Array,
    state: Array,
) -> tuple[np.ndarray, np.ndarray]:
    """Actions and new policy state for observations [..., O] and state [..., H].

    ``weights`` are ``policy.unpack(theta)`` for one theta, or for one per row of ``obs``. The
    observation is normalised in float64, the policy computes in float32. Each row has the same
    bits whatever the number of rows, and whether they share one theta or hold copies.
    """
    # Row-major operands keep every row on the same BLAS kernel: strided ones take another path
    # through matmul, which adds in another order.
    deviation = np.ascontiguousarray(obs, np.float64) - affine.shift
    state = np.ascontiguousarray(state, np.float32)
    # BLAS kernels may raise the flag over numbers beside the matrix, which they drop.
    with np.errstate(invalid="ignore"):
        return act_on_deviation(policy, action, weights, affine, deviation, state)


def act_on_deviation(
    policy: Policy,
    action: ActionSpec,
    weights: tuple[Array, ...],
    affine: Affine,
    deviation: np.ndarray,
    state: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """`act` where ``obs - affine.shift`` is known already, row-major in float64."""
    x = np.empty(deviation.shape, np.float32)
    np.multiply(deviation, affine.scale, out=x, casting="same_kind")
    np.maximum(x, -affine.bound, out=x)
    np.minimum(x, affine.bound, out=x)
    output, state = policy.apply(np, weights, x, state)
    return action.to_action(np, output), state
