"""The weights of a small network as one flat vector: one array compiles and runs faster than many.

Layer by layer, a matrix [fan in, fan out] before its bias [fan out].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Shapes = tuple[tuple[int, ...], ...]


def layer_shapes(sizes: Sequence[int]) -> Shapes:
    """Shapes of the matrices and biases between layers of these many units."""
    return tuple(shape for n, m in itertools.pairwise(sizes) for shape in ((n, m), (m,)))


def unpack(flat: Array, shapes: Shapes) -> list[Array]:
    """A flat vector as arrays of the given shapes."""
    ends = itertools.accumulate(math.prod(shape) for shape in shapes)
    pieces = jnp.split(flat, list(ends)[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def owners(shapes: Shapes) -> np.ndarray:
    """Of every weight, the index of the array that it belongs to, int [D]."""
    return np.repeat(np.arange(len(shapes)), [math.prod(shape) for shape in shapes])


def draw_weights(key: Any, shapes: Shapes, dtype: Any = jnp.float32) -> Array:
    """Matrices normal with variance 1 / fan-in, biases 0: flat, [D]."""
    scales = np.array([shape[0] ** -0.5 if len(shape) == 2 else 0.0 for shape in shapes])
    # One draw for all layers, biases too: each draw costs as much to compile as a layer.
    normal = jax.random.normal(key, (len(owners(shapes)),), dtype)
    return normal * jnp.asarray(scales[owners(shapes)], dtype)
