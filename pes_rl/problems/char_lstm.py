"""A character-level LSTM language model that reads one sequence; the loss is that of each next
character, in nats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pes_rl.problems.protocol import Step


class Memory(NamedTuple):
    """Hidden state [H], cell [H], and the position in the sequence, int32."""

    hidden: Array
    cell: Array
    t: Array


@dataclass(frozen=True)
class CharLSTM:
    """theta [P] holds an embedding, one LSTM layer and a softmax layer, flat.

    Attributes:
      sequence: int [L], read from its beginning; step t predicts character t + 1.
      vocabulary: V, number of symbols.
      hidden: H, units and embedding size.
      embedded: whether there is an embedding; else the layer reads one-hot symbols.
    """

    sequence: Array
    vocabulary: int = 50
    hidden: int = 5
    embedded: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights, in their order in theta."""
        V, H = self.vocabulary, self.hidden
        embedded = {"embedding": (V, H), "input": (H, 4 * H)}
        return {
            **(embedded if self.embedded else {"input": (V, 4 * H)}),
            "recurrent": (H, 4 * H),
            "bias": (4 * H,),
            "output": (H, V),
            "output_bias": (V,),
        }

    @property
    def num_params(self) -> int:
        """P."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def unpack(self, theta: Array) -> dict[str, Array]:
        """The weights by name."""
        weights, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            weights[name] = theta[start:stop].reshape(shape)
            start = stop
        return weights

    def initial_theta(self, key: Any) -> Array:
        """Embeddings uniform in +-0.1, matrices normal with variance 1 / fan-in, biases 0."""
        keys = jax.random.split(key, len(self.shapes))
        parts = []
        for one, (name, shape) in zip(keys, self.shapes.items(), strict=True):
            if name == "embedding":
                parts.append(jax.random.uniform(one, shape, minval=-0.1, maxval=0.1))
            elif len(shape) == 2:
                parts.append(jax.random.normal(one, shape) / math.sqrt(shape[0]))
            else:
                parts.append(jnp.zeros(shape))
        return jnp.concatenate([part.ravel() for part in parts])

    def init(self, key: Any, theta: Array) -> Memory:
        """Empty memory at the beginning of the sequence."""
        blank = jnp.zeros(self.hidden, theta.dtype)
        return Memory(blank, blank, jnp.zeros((), jnp.int32))

    def step(self, key: Any, theta: Array, carry: Memory) -> tuple[Memory, Step]:
        """Read one character, predict the next."""
        weights = self.unpack(theta)
        symbol = self.sequence[carry.t]
        if self.embedded:
            read = weights["embedding"][symbol] @ weights["input"]
        else:
            read = weights["input"][symbol]
        gates = read + carry.hidden @ weights["recurrent"] + weights["bias"]
        forget, enter, leave, new = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(forget) * carry.cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
        hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
        scores = jax.nn.log_softmax(hidden @ weights["output"] + weights["output_bias"])
        loss = -scores[self.sequence[carry.t + 1]]
        return Memory(hidden, cell, carry.t + 1), Step(loss, False)
