"""A value from a small network, trained by Adam on n-step targets."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pes_rl.baselines.core import Baseline, Samples

Array = jax.Array
_HIDDEN = (64, 64)
_RATE, _STEPS = 3e-3, 4  # Adam's, and how many of them an update takes
_KEPT = 0.95  # of the targets' running mean and deviation at each update


class MlpState(NamedTuple):
    """A network whose output is in units of what its targets have been lately.

    Attributes:
      layers: matrices [out, in] and biases [out], in turn.
      optimizer: Adam's state.
      mean: running mean of the targets.
      square: running mean of their squares.
      weight: total weight of the two.
    """

    layers: tuple[Array, ...]
    optimizer: Any
    mean: Array
    square: Array
    weight: Array


def mlp() -> Baseline:
    """Two layers of 64 tanh units; outputs are scaled by the targets' mean and deviation.

    When these move the last layer is changed so that values stay (van Hasselt et al. 2016).
    """
    adam = optax.adam(_RATE)

    def init(key: Array, observation_size: int, dtype: Any) -> MlpState:
        sizes = (observation_size, *_HIDDEN, 1)
        layers: list[Array] = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            draw = jax.random.normal(jax.random.fold_in(key, i), (outputs, inputs), dtype)
            scale = 0.0 if outputs == 1 else inputs**-0.5
            layers += [draw * jnp.asarray(scale, dtype), jnp.zeros(outputs, dtype)]
        zero = jnp.zeros((), dtype)
        return MlpState(tuple(layers), adam.init(tuple(layers)), zero, zero, zero)

    def value(state: MlpState, inputs: Array) -> Array:
        mean, deviation = _scale(state)
        return mean + deviation * _network(state.layers, inputs)

    def learn(state: MlpState, samples: Samples) -> MlpState:
        target = samples.loss + samples.discount * value(state, samples.last)[:, None]
        weight, number = samples.weight, jnp.maximum(samples.weight.sum(), 1)
        moments = ((weight * power).sum() / number for power in (target, target**2))
        state = _rescaled(state, *moments)
        mean, deviation = _scale(state)
        wanted = (target - mean) / deviation

        def error(layers: tuple[Array, ...]) -> Array:
            return (weight * (_network(layers, samples.inputs) - wanted) ** 2).sum() / number

        def step(carry: Any, _: None) -> Any:
            layers, optimizer = carry
            change, optimizer = adam.update(jax.grad(error)(layers), optimizer)
            return (optax.apply_updates(layers, change), optimizer), None

        start = state.layers, state.optimizer
        (layers, optimizer), _ = jax.lax.scan(step, start, length=_STEPS)
        return state._replace(layers=layers, optimizer=optimizer)

    return Baseline(init, value, learn, lambda observation_size: sum(_HIDDEN))


def _network(layers: tuple[Array, ...], x: Array) -> Array:
    *hidden, matrix, bias = layers
    for weight, offset in zip(hidden[::2], hidden[1::2], strict=True):
        x = jnp.tanh(jnp.matmul(x, weight.T, precision="highest") + offset)
    return (jnp.matmul(x, matrix.T, precision="highest") + bias)[..., 0]


def _scale(state: MlpState) -> tuple[Array, Array]:
    """Mean and deviation of the targets so far; 0 and 1 before the first."""
    weight = jnp.maximum(state.weight, 1e-6)
    mean = state.mean / weight
    variance = jnp.maximum(state.square / weight - mean**2, 1e-6)
    return mean, jnp.where(state.weight > 0, jnp.sqrt(variance), 1)


def _rescaled(state: MlpState, mean: Array, square: Array) -> MlpState:
    """The same values in the units that the new targets give."""
    moved = state._replace(
        mean=_KEPT * state.mean + (1 - _KEPT) * mean,
        square=_KEPT * state.square + (1 - _KEPT) * square,
        weight=_KEPT * state.weight + (1 - _KEPT),
    )
    (old_mean, old), (new_mean, new) = _scale(state), _scale(moved)
    *hidden, matrix, bias = state.layers
    matrix, bias = matrix * old / new, (bias * old + old_mean - new_mean) / new
    return moved._replace(layers=(*hidden, matrix, bias))
