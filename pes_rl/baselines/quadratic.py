"""A value that is quadratic in the observation, solved for at once (LSTD).

Least-squares temporal differences (Bradtke and Barto 1996; Boyan 2002): weights w for which

    sum_s phi(s) (l(s) + discount w . phi(s') - w . phi(s)) = 0

over the samples of the last updates, older ones counting less. Nothing is bootstrapped slowly and
there is no step size; what is kept is one matrix of F x F numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.baselines.core import Baseline, Samples

Array = jax.Array
_BOUND = 5.0  # of inputs, in standard deviations: squares of outliers would rule the fit
_MOST_PRODUCTS = 24  # inputs; of more only the squares are features, and not the products
_KEPT = 0.95  # of the older samples' weight at each update
_RIDGE = 1e-3  # of a sample's weight, times the number of samples


class QuadraticState(NamedTuple):
    """Sums over samples, older ones fading, and their solution.

    Attributes:
      matrix: [F, F] sum of phi(s) (phi(s) - discount phi(s'))^T.
      target: [F] sum of phi(s) l(s).
      number: sum of the samples' weights.
      weight: [F].
    """

    matrix: Array
    target: Array
    number: Array
    weight: Array


def quadratic() -> Baseline:
    """1, inputs, and their products; where there are many inputs, their squares alone."""

    def init(key: Array, observation_size: int, dtype: Any) -> QuadraticState:
        size = features(jnp.zeros(observation_size)).size
        kind = jnp.result_type(float)  # the sums; float64 on a host
        return QuadraticState(
            jnp.zeros((size, size), kind),
            jnp.zeros(size, kind),
            jnp.zeros((), kind),
            jnp.zeros(size, dtype),
        )

    def value(state: QuadraticState, inputs: Array) -> Array:
        return jnp.matmul(features(inputs), state.weight, precision="highest")

    def learn(state: QuadraticState, samples: Samples) -> QuadraticState:
        kind, size = state.matrix.dtype, state.target.size
        here = features(samples.inputs).astype(kind)
        then = features(samples.last).astype(kind)[:, None]
        weighted = (here * samples.weight[..., None]).reshape(-1, size)
        change = (here - samples.discount[..., None] * then).reshape(-1, size)
        matrix = _KEPT * state.matrix + jnp.matmul(weighted.T, change, precision="highest")
        target = _KEPT * state.target + jnp.matmul(
            weighted.T, samples.loss.reshape(-1).astype(kind), precision="highest"
        )
        number = _KEPT * state.number + samples.weight.sum()
        ridge = _RIDGE * jnp.maximum(number, 1) * jnp.eye(size, dtype=kind)
        weight = jnp.linalg.solve(matrix + ridge, target).astype(state.weight.dtype)
        # The matrix is not symmetric, so nothing rules out that it is singular now and then.
        weight = jnp.where(jnp.isfinite(weight).all(), weight, state.weight)
        return QuadraticState(matrix, target, number, weight)

    def workspace(observation_size: int) -> int:
        return 3 * features(jnp.zeros(observation_size)).size

    return Baseline(init, value, learn, workspace)


def features(inputs: Array) -> Array:
    """phi [..., F] of inputs [..., O]."""
    x = jnp.clip(inputs, -_BOUND, _BOUND)
    size = x.shape[-1]
    rows, columns = np.triu_indices(size) if size <= _MOST_PRODUCTS else (np.arange(size),) * 2
    return jnp.concatenate([jnp.ones_like(x[..., :1]), x, x[..., rows] * x[..., columns]], axis=-1)
