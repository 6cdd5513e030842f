"""A learned optimiser: a small network that says how each weight of a classifier should move.

Meta-training unrolls T steps of training the classifier from fresh weights; theta are the weights
of the optimiser's network, and the loss of a step is the classifier's training loss (Metz et al.
2020; Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023). The network is the same
for every weight, so it can train a classifier of any shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pes_rl.problems.flat import Shapes, draw_weights, layer_shapes, unpack
from pes_rl.problems.protocol import Step

Weights = tuple[Array, ...]
"""A classifier's: matrices [fan in, fan out] and biases [fan out] in turns, layer by layer."""

DECAYS = (0.5, 0.9, 0.99)  # timescales of the momenta
SQUARE_DECAY = 0.99  # timescale of the mean squared gradient
CLOCKS = (10.0, 100.0, 1000.0)  # timescales, in inner steps, at which the step count is seen
_FEATURES = 3 + len(DECAYS)
_SMALL = 1e-8


class Memory(NamedTuple):
    """What the optimiser keeps of a weight array [...]: momenta [3, ...], mean squares [...]."""

    momenta: Array
    squares: Array


class OptimizerState(NamedTuple):
    """What is kept of every weight array, and the number of steps taken, int32."""

    memories: Any
    t: Array


@dataclass(frozen=True)
class OptimizerNet:
    """A per-weight network with one hidden layer; theta [P] holds its weights, flat.

    Seen of each weight: its gradient and momenta relative to the root mean square gradient, the
    logarithm of that root, the weight itself, and the step count. Said of it: a direction d and a
    strength s; the weight moves by -0.01 d exp(s).

    Attributes:
      width: H, hidden units.
    """

    width: int = 8

    @property
    def shapes(self) -> Shapes:
        """Shapes of the weights, in their order in theta."""
        H = self.width
        return (H, _FEATURES), (H, len(CLOCKS)), (H,), (2, H), (2,)

    @property
    def num_params(self) -> int:
        """P."""
        return sum(math.prod(shape) for shape in self.shapes)

    def initial_theta(self, key: Any) -> Array:
        """Random hidden units, and an output of 0: an optimiser that does nothing."""
        H = self.width
        hidden = jax.random.normal(key, (H, _FEATURES + len(CLOCKS))) / math.sqrt(_FEATURES)
        parts = hidden[:, :_FEATURES].ravel(), hidden[:, _FEATURES:].ravel()
        return jnp.concatenate([*parts, jnp.zeros(self.num_params - hidden.size)])

    def optimizer(self, theta: Array) -> optax.GradientTransformation:
        """The optimiser with parameters theta, for any tree of weights; it needs the weights."""
        features, clocks, bias, out, out_bias = unpack(theta, self.shapes)

        def init(params: Any) -> Any:
            def blank(w: Array) -> Memory:
                return Memory(jnp.zeros((len(DECAYS), *w.shape), w.dtype), jnp.zeros_like(w))

            return OptimizerState(jax.tree.map(blank, params), jnp.zeros((), jnp.int32))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            t = state.t + 1
            shift = clocks @ jnp.tanh(t / jnp.array(CLOCKS, theta.dtype)) + bias

            def remember(g: Array, memory: Memory) -> Memory:
                decays = jnp.array(DECAYS, g.dtype).reshape(-1, *(1,) * g.ndim)
                return Memory(
                    decays * memory.momenta + (1 - decays) * g,
                    SQUARE_DECAY * memory.squares + (1 - SQUARE_DECAY) * g**2,
                )

            def move(g: Array, memory: Memory, w: Array) -> Array:
                root = jnp.sqrt(memory.squares / (1 - SQUARE_DECAY**t)) + _SMALL
                relative = jnp.stack([g, *memory.momenta]) / root
                seen = jnp.concatenate([relative, jnp.stack([jnp.log(root) / 8, w])])
                hidden = jnp.tanh(
                    jnp.einsum("hf,f...->h...", features, seen) + shift.reshape(-1, *(1,) * g.ndim)
                )
                said = jnp.einsum("oh,h...->o...", out, hidden)
                return -0.01 * (said[0] + out_bias[0]) * jnp.exp(said[1] + out_bias[1])

            memories = jax.tree.map(remember, updates, state.memories)
            return jax.tree.map(move, updates, memories, params), OptimizerState(memories, t)

        return optax.GradientTransformation(init, update)


@dataclass(frozen=True, eq=False)
class Classifier:
    """The inner task: a tanh MLP with a softmax output learns to classify images.

    Attributes:
      images: [n, pixels], floating.
      labels: int [n], 0 to classes - 1.
      hidden: units of the hidden layers.
      batch: images per step, drawn with replacement.
      classes: number of classes.
    """

    images: Array
    labels: Array
    hidden: tuple[int, ...] = (32,)
    batch: int = 32
    classes: int = 10

    @property
    def shapes(self) -> Shapes:
        """Shapes of the weights: a matrix and a bias for each layer."""
        sizes = (self.images.shape[1], *self.hidden, self.classes)
        return layer_shapes(sizes)

    def initial_weights(self, key: Any) -> Weights:
        """Matrices normal with variance 1 / fan-in, biases 0."""
        return tuple(unpack(draw_weights(key, self.shapes), self.shapes))

    def scores(self, weights: Weights, images: Array) -> Array:
        """Log-probabilities [..., classes] of images [..., pixels]."""
        x = images
        for matrix, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = jnp.tanh(x @ matrix + bias)
        return jax.nn.log_softmax(x @ weights[-2] + weights[-1])

    def loss(self, weights: Weights, images: Array, labels: Array) -> Array:
        """Mean cross-entropy, in nats."""
        wanted = jax.nn.one_hot(labels, self.classes, dtype=images.dtype)
        return -(self.scores(weights, images) * wanted).sum(axis=-1).mean()

    def batch_loss(self, key: Any) -> Callable[[Weights], Array]:
        """The loss on a random batch, as a function of the weights."""
        # Even to one part in a million, at a third of the random bits of randint.
        chosen = jax.random.bits(key, (self.batch,)) % self.labels.size
        images, labels = self.images[chosen], self.labels[chosen]
        return lambda weights: self.loss(weights, images, labels)


class Training(NamedTuple):
    """The classifier's weights, and its optimiser's state."""

    weights: Weights
    optimizer: Any


@dataclass(frozen=True)
class LearnedOptimizer:
    """theta [P] are the weights of ``net``; the loss of an inner step is the batch's.

    Attributes:
      task: the classifier that is trained.
      net: the optimiser, of any kind that has ``optimizer(theta)``.
      ceiling: a larger loss, or one that is not a number, counts as this: a classifier that has
        blown up is no worse the further it goes.
    """

    task: Classifier
    net: Any = OptimizerNet()
    ceiling: float = 5.0

    def init(self, key: Any, theta: Array) -> Training:
        """Fresh weights."""
        weights = self.task.initial_weights(key)
        return Training(weights, self.net.optimizer(theta).init(weights))

    def step(self, key: Any, theta: Array, carry: Training) -> tuple[Training, Step]:
        """One step of training; the loss is that of the batch before the step."""
        after, loss = train_step(self.task, self.net.optimizer(theta), key, carry)
        bounded = jnp.where(loss < self.ceiling, loss, self.ceiling)
        return after, Step(bounded, False)


def train_step(
    task: Classifier, optimizer: optax.GradientTransformation, key: Any, carry: Training
) -> tuple[Training, Array]:
    """One inner step with any optax optimiser, and the batch's loss before it."""
    loss, gradient = jax.value_and_grad(task.batch_loss(key))(carry.weights)
    update, state = optimizer.update(gradient, carry.optimizer, carry.weights)
    weights: Any = optax.apply_updates(carry.weights, update)
    return Training(weights, state), loss


def train(
    task: Classifier, optimizer: optax.GradientTransformation, key: Any, steps: int
) -> tuple[Array, Weights]:
    """Train a fresh classifier: the batches' losses [steps], and the final weights."""
    weights_key, batch_key = jax.random.split(key)
    weights = task.initial_weights(weights_key)

    def one_step(carry: Training, t: Array):
        return train_step(task, optimizer, jax.random.fold_in(batch_key, t), carry)

    start = Training(weights, optimizer.init(weights))
    end, losses = jax.lax.scan(one_step, start, jnp.arange(steps))
    return losses, end.weights
