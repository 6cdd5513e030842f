"""A character language model: an LSTM that reads a text from random places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pes_rl.problems.char_lstm import CharLSTM, Memory


@dataclass(frozen=True)
class CharacterModel(CharLSTM):
    """A `CharLSTM` whose episodes are T steps from a uniformly random place of the text.

    Attributes:
      horizon: T; the text has to have more than T characters.
    """

    horizon: int = 100

    def init(self, key: Any, theta: Array) -> Memory:
        """Empty memory, somewhere in the text."""
        place = jax.random.randint(key, (), 0, len(self.sequence) - self.horizon, jnp.int32)
        return super().init(key, theta)._replace(t=place)

    def bits_per_character(self, theta: Array, streams: int) -> Array:
        """Mean over the text, cut into equal ``streams`` that are each read from empty memory."""
        length = (len(self.sequence) - 1) // streams

        def one(place: Array) -> Array:
            def advance(memory: Memory, _):
                memory, out = self.step(None, theta, memory)
                return memory, out.loss

            start = super(CharacterModel, self).init(None, theta)._replace(t=place)
            return jax.lax.scan(advance, start, length=length)[1].mean()

        places = length * jnp.arange(streams, dtype=jnp.int32)
        return jax.vmap(one)(places).mean() / math.log(2)
