"""The learned optimiser of the papers: a multi-layer network that moves each weight on its own.

It is the "LOLv2" of Metz et al. (2019), which Vicol, Kolter and Swersky (2023) meta-train. Of each
weight it sees the gradient, the weight and the gradient's momenta, each of them divided by its root
mean square over the weight's array, and the step count; what it says are a direction d and a
strength s, and the weight moves by -0.001 d exp(0.001 s).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pes_rl.problems.flat import Shapes, draw_weights, layer_shapes, unpack
from pes_rl.problems.learned_optimizer import OptimizerState

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)  # timescales of the momenta
CLOCKS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)  # of the step count
_SEEN = 2 + len(DECAYS)
_SCALE = 0.001  # of both outputs
_SMALL = 1e-5


@dataclass(frozen=True)
class PerWeightMLP:
    """theta [P] holds the network's weights, flat, layer by layer.

    Attributes:
      width: units of a hidden layer.
      depth: hidden layers, of rectified units.
    """

    width: int = 32
    depth: int = 2

    @property
    def shapes(self) -> Shapes:
        """Shapes of the weights, in their order in theta."""
        return layer_shapes((_SEEN + len(CLOCKS), *(self.width,) * self.depth, 2))

    @property
    def num_params(self) -> int:
        """P."""
        return sum(math.prod(shape) for shape in self.shapes)

    def initial_theta(self, key: Any) -> Array:
        """Matrices normal with variance 1 / fan-in, biases 0: an optimiser that moves at random."""
        return draw_weights(key, self.shapes)

    def optimizer(self, theta: Array) -> optax.GradientTransformation:
        """The optimiser with parameters theta, for any tree of weights; it needs the weights."""
        layers = unpack(theta, self.shapes)
        matrices, biases = layers[::2], layers[1::2]

        def init(params: Any) -> OptimizerState:
            def blank(w: Array) -> Array:
                return jnp.zeros((len(DECAYS), *w.shape), w.dtype)

            return OptimizerState(jax.tree.map(blank, params), jnp.zeros((), jnp.int32))

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            # The step count is the same for all weights: it joins the first layer's biases.
            time = jnp.tanh(state.t / jnp.array(CLOCKS, theta.dtype) - 1)
            first = matrices[0][:_SEEN]
            shifts = [biases[0] + time @ matrices[0][_SEEN:], *biases[1:]]

            def remember(g: Array, momenta: Array) -> Array:
                decays = jnp.array(DECAYS, g.dtype).reshape(-1, *(1,) * g.ndim)
                return decays * momenta + (1 - decays) * g

            def move(g: Array, momenta: Array, w: Array) -> Array:
                seen = jnp.concatenate([jnp.stack([g, w]), momenta]).reshape(_SEEN, -1)
                x = seen * jax.lax.rsqrt((seen**2).mean(axis=1, keepdims=True) + _SMALL)
                for matrix, shift in zip([first, *matrices[1:-1]], shifts, strict=False):
                    x = jax.nn.relu(matrix.T @ x + shift[:, None])
                direction, strength = matrices[-1].T @ x + shifts[-1][:, None]
                return (-_SCALE * direction * jnp.exp(_SCALE * strength)).reshape(g.shape)

            momenta = jax.tree.map(remember, updates, state.memories)
            moves = jax.tree.map(move, updates, momenta, params)
            return moves, OptimizerState(momenta, state.t + 1)

        return optax.GradientTransformation(init, update)
