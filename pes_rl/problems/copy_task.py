"""The copy task, with lengths for a curriculum (Mujika, Meier and Steger 2018).

A network reads random bits one by one, then a separator, and then has to write the bits down. For
length 3:

    reads    0 1 1 # * *
    writes   . . . 0 1 1

Whatever it writes depends on what it read ``length`` steps before. A method that looks back over
fewer steps cannot learn to remember: it can only learn to read out what an untrained memory happens
to hold, which serves for short sequences.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pes_rl.problems.char_lstm import CharLSTM, Memory
from pes_rl.problems.protocol import Step

_SEPARATOR, _BLANK, _SYMBOLS = 2, 3, 4  # 0 and 1 are the bits


class Copying(NamedTuple):
    """One sequence: the network's memory (its clock included), bits int32 [longest], length."""

    memory: Memory
    bits: Array
    length: Array


@dataclass(frozen=True)
class CopyTask:
    """theta [P] holds an LSTM over the four symbols; an episode is one sequence.

    A sequence of length n has 2 n steps. Its loss is that of the n bits written, in nats: ln 2
    each by guessing.

    Attributes:
      length: the curriculum's length; may be traced, so that one program serves all of it.
        Episodes that have begun keep theirs.
      longest: the largest length, static.
      spread: lengths are uniform in length - spread .. length, and at least 1.
      hidden: H, units.
      embedded: whether symbols are embedded; else the LSTM reads them one-hot, as in the papers.
    """

    length: Any
    longest: int
    spread: int = 0
    hidden: int = 16
    embedded: bool = True

    @property
    def network(self) -> CharLSTM:
        """The LSTM; only its weights matter."""
        return CharLSTM(jnp.zeros(2, jnp.int32), _SYMBOLS, self.hidden, self.embedded)

    @property
    def num_params(self) -> int:
        """P."""
        return self.network.num_params

    @property
    def horizon(self) -> int:
        """Steps of the longest sequence."""
        return 2 * self.longest

    def initial_theta(self, key: Any) -> Array:
        """The LSTM's, with forget gates that begin open (bias 1)."""
        theta, start = self.network.initial_theta(key), 0
        for name, shape in self.network.shapes.items():
            if name == "bias":
                theta = theta.at[start : start + self.hidden].set(1.0)
            start += math.prod(shape)
        return theta

    def init(self, key: Any, theta: Array) -> Copying:
        """A sequence of random bits."""
        bits_key, length_key = jax.random.split(key)
        bits = jax.random.bernoulli(bits_key, shape=(self.longest,)).astype(jnp.int32)
        length = jnp.asarray(self.length, jnp.int32)
        least = jnp.maximum(length - self.spread, 1)
        length = jax.random.randint(length_key, (), least, length + 1, jnp.int32)
        return Copying(self.network.init(key, theta), bits, length)

    def step(self, key: Any, theta: Array, carry: Copying) -> tuple[Copying, Step]:
        """Read a symbol; past the separator, write a bit."""
        memory, bits, n = carry
        t = memory.t
        later = jnp.where(t == n, _SEPARATOR, _BLANK)
        symbol = jnp.where(t < n, bits[jnp.minimum(t, self.longest - 1)], later)
        wanted = bits[jnp.clip(t - n, 0, self.longest - 1)]
        pair = CharLSTM(jnp.stack([symbol, wanted]), _SYMBOLS, self.hidden, self.embedded)
        after, out = pair.step(key, theta, memory._replace(t=jnp.zeros_like(t)))
        loss = jnp.where(t >= n, out.loss, 0)
        return Copying(after._replace(t=t + 1), bits, n), Step(loss, t + 1 >= 2 * n)

    def bits_per_character(self, key: Any, theta: Array, sequences: int) -> Array:
        """Mean over fresh sequences of the full curriculum length, of the bits written."""
        exact = dataclasses.replace(self, spread=0)

        def one(key: Array) -> Array:
            def advance(loop, _):
                carry, over = loop
                carry, out = exact.step(None, theta, carry)
                return (carry, over | out.done), jnp.where(over, 0, out.loss)

            start = exact.init(key, theta), jnp.zeros((), bool)
            return jax.lax.scan(advance, start, length=self.horizon)[1].sum()

        total = jax.vmap(one)(jax.random.split(key, sequences)).mean()
        return total / (self.length * math.log(2))
