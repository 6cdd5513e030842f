"""Hyperparameter optimisation: theta tunes the training of a small image classifier.

One particle is a whole training run, one step of it a minibatch of stochastic gradient descent with
momentum; the loss of a step is what training is to be judged by. That need not be differentiable:
an accuracy serves. Two sets of hyperparameters (Vicol, Metz and Sohl-Dickstein 2021, section 5;
Vicol, Kolter and Swersky 2023): a learning rate and its decay, or 29 of all kinds at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pes_rl.problems.datasets import Images
from pes_rl.problems.flat import Shapes, draw_weights, layer_shapes, owners, unpack
from pes_rl.problems.protocol import Step

Layers = list[tuple[Array, Array]]
"""A matrix [fan in, fan out] and a bias [fan out] per layer."""

_LARGEST = 1e3  # a diverging network's weights stop here, so that nothing is ever infinite
_WORST = 10.0  # nats; so that one diverging particle does not drown all others


class Settings(NamedTuple):
    """What one step of training uses.

    Attributes:
      rate: learning rates [layers, 2], of matrices and biases; or a scalar.
      momentum: alike, below 1.
      shrinkage: L2 coefficients [layers] of the matrices; or a scalar; None for none.
      smoothing: share of the labels that is spread over all classes, scalar.
      used: shares of the units [hidden layers] that are used, the others give 0; None for all.
    """

    rate: Any
    momentum: Any = 0.9
    shrinkage: Any = None
    smoothing: Any = 0.0
    used: Any = None


class Training(NamedTuple):
    """Weights [D], their velocities [D], the steps made, and where in the data they began, int32.

    The weights lie flat, see `pes_rl.problems.flat`.
    """

    weights: Array
    velocity: Array
    t: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class Tuning:
    """Training of a network on images; theta goes through ``settings``.

    Attributes:
      settings: ``(theta [P], t) -> Settings`` of the inner step t.
      train: images and labels to train on.
      held_out: images and labels to judge by; the training ones judge by themselves.
      objective: ``training-loss``: of the step's own minibatch, before its update, in nats;
        ``validation-loss``, ``validation-error`` (one minus accuracy, not differentiable): of
        ``judged`` held-out images, after the update;
        ``current-loss``: of the same ``judged`` first training images at every step, after the
        update: what `pes_rl.problems.telescoping.Telescoping` needs.
      hidden: units of the hidden layers.
      batch: images per step; the data are gone through in their order, from a random place.
      judged: see objective.
      activation: of the hidden layers.
    """

    settings: Callable[[Array, Array], Settings]
    train: Images
    held_out: Images
    objective: str = "training-loss"
    hidden: tuple[int, ...] = (16,)
    batch: int = 16
    judged: int = 32
    activation: Callable[[Array], Array] = jnp.tanh

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of all layers, pixels first."""
        return (self.train.images.shape[1], *self.hidden, 10)

    @property
    def shapes(self) -> Shapes:
        """Of the matrices and biases, in their order among the weights."""
        return layer_shapes(self.sizes)

    def layers(self, weights: Array) -> Layers:
        """The weights [D] by layer."""
        parts = unpack(weights, self.shapes)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def init(self, key: Any, theta: Array) -> Training:
        """Matrices normal with variance 1 / fan-in, biases 0."""
        weights = draw_weights(key, self.shapes, theta.dtype)
        # The key is one random number more, and costs nothing.
        offset = jax.random.key_data(key).ravel()[-1] % len(self.train.labels)
        zero = jnp.zeros((), jnp.int32)
        return Training(weights, jnp.zeros_like(weights), zero, offset.astype(jnp.int32))

    def step(self, key: Any, theta: Array, carry: Training) -> tuple[Training, Step]:
        """One minibatch."""
        settings = self.settings(theta, carry.t)
        images, labels = _batch(self.train, self.batch, carry)

        def smoothed_loss(layers: Layers) -> tuple[Array, Array]:
            scores = self._scores(settings, layers, images)
            own = cross_entropy(scores, labels)
            return (1 - settings.smoothing) * own - settings.smoothing * scores.mean(), own

        slopes, loss = jax.grad(smoothed_loss, has_aux=True)(self.layers(carry.weights))
        slope = jnp.concatenate([part.ravel() for layer in slopes for part in layer])
        after = self._descend(settings, slope, carry)
        return after, Step(self._judge(settings, after, loss), False)

    def _descend(self, settings: Settings, slope: Array, carry: Training) -> Training:
        """Momentum SGD with L2: v' = m v + g + s w, w' = w - r v'."""
        owner = owners(self.shapes)
        rate, momentum = _each(settings.rate, owner), _each(settings.momentum, owner)
        velocity = momentum * carry.velocity + slope
        if settings.shrinkage is not None:
            matrices = jnp.asarray(owner % 2 == 0, slope.dtype)
            velocity += _each(settings.shrinkage, owner // 2) * matrices * carry.weights
        weights = jnp.clip(carry.weights - rate * velocity, -_LARGEST, _LARGEST)
        return Training(weights, velocity, carry.t + 1, carry.offset)

    def _scores(self, settings: Settings, layers: Layers, images: Array) -> Array:
        return log_probabilities(layers, images, self.activation, settings.used)

    def _judge(self, settings: Settings, after: Training, training_loss: Array) -> Array:
        if self.objective == "training-loss":
            return jnp.minimum(training_loss, _WORST)
        if self.objective == "current-loss":
            images, labels = map(jnp.asarray, self.train.first(self.judged))
        else:
            images, labels = _batch(self.held_out, self.judged, after)
        scores = self._scores(settings, self.layers(after.weights), images)
        if self.objective == "validation-error":
            return (scores.argmax(axis=1) != labels).mean(dtype=scores.dtype)
        return jnp.minimum(cross_entropy(scores, labels), _WORST)


def log_probabilities(
    layers: Layers,
    images: Array,
    activation: Callable[[Array], Array] = jnp.tanh,
    used: Any = None,
) -> Array:
    """Of the ten classes [M, 10], for images [M, pixels]; ``used`` as in `Settings`."""
    x = images
    for i, (matrix, bias) in enumerate(layers[:-1]):
        x = activation(x @ matrix + bias)
        if used is not None:  # both activations of the papers leave 0 as it is
            x = jnp.where(jnp.arange(x.shape[1]) < jnp.floor(used[i] * x.shape[1]), x, 0)
    matrix, bias = layers[-1]
    return jax.nn.log_softmax(x @ matrix + bias)


def cross_entropy(scores: Array, labels: Array) -> Array:
    """Mean over the images, in nats."""
    wanted = jax.nn.one_hot(labels, scores.shape[1], dtype=scores.dtype)
    return -(scores * wanted).sum(axis=1).mean()


def _batch(data: Images, count: int, carry: Training) -> tuple[Array, Array]:
    """The images that are due, the first ones following the last."""
    index = (carry.offset + carry.t * count + jnp.arange(count)) % len(data.labels)
    return jnp.asarray(data.images)[index], jnp.asarray(data.labels)[index]


def _each(value: Any, owner: np.ndarray) -> Array:
    """A setting for every weight [D], from one for every owner; a scalar stays one."""
    value = jnp.asarray(value)
    return value.ravel()[owner] if value.ndim else value


def rate_and_decay(timescale: float) -> Callable[[Array, Array], Settings]:
    """theta [2]: logarithms of the learning rate and of the power by which it decays.

    rate(t) = exp(theta_0) / (1 + t / timescale) ** exp(theta_1), the inverse-time decay of Vicol et
    al. 2021; their timescale is the horizon, 5000.
    """

    def settings(theta: Array, t: Array) -> Settings:
        late = jnp.log1p(t.astype(theta.dtype) / timescale)
        return Settings(jnp.exp(theta[0] - jnp.exp(theta[1]) * late))

    return settings


def many(layers: int, horizon: int) -> Callable[[Array, Array], Settings]:
    """theta [7 layers + 1]: 29 hyperparameters of a network with four layers.

    In this order: log learning rates [layers, 2] of matrices and biases, logits of their momenta
    [layers, 2], exponential decays of the rates over the horizon [layers, 2] (in e-folds), log L2
    coefficients [layers], and the logit of the label smoothing.
    """
    n = 2 * layers

    def settings(theta: Array, t: Array) -> Settings:
        late = t.astype(theta.dtype) / horizon
        rate, momentum, decay = (theta[i * n : (i + 1) * n].reshape(layers, 2) for i in range(3))
        return Settings(
            jnp.exp(rate - decay * late),
            jax.nn.sigmoid(momentum),
            jnp.exp(theta[3 * n : 3 * n + layers]),
            jax.nn.sigmoid(theta[-1]),
        )

    return settings


def widths_rates_momenta(hidden: int) -> Callable[[Array, Array], Settings]:
    """theta [5 hidden + 4]: the 29 hyperparameters of Vicol et al. 2021, with five hidden layers.

    In this order: logits of the shares of units used [hidden], log learning rates
    [hidden + 1, 2] of matrices and biases, logits of their momenta [hidden + 1, 2].
    """
    n = 2 * (hidden + 1)

    def settings(theta: Array, t: Array) -> Settings:
        del t
        used, rate, momentum = jnp.split(theta, [hidden, hidden + n])
        by_layer = (hidden + 1, 2)
        return Settings(
            jnp.exp(rate).reshape(by_layer),
            jax.nn.sigmoid(momentum).reshape(by_layer),
            used=jax.nn.sigmoid(used),
        )

    return settings
