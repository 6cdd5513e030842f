"""One step of an optimiser, the same wherever a gradient comes from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax


def descend(
    optimizer: optax.GradientTransformation,
    before: tuple[jax.Array, Any],
    grad: jax.Array,
    rate: jax.Array | float,
    refused: jax.Array,
) -> tuple[jax.Array, Any]:
    """Take one step, unless shaping refused the update: then nothing moves.

    Args:
      optimizer: gives steps at unit learning rate.
      before: theta [P] and the optimiser's state.
      grad: [P].
      rate: what the optimiser's step is multiplied by.
      refused: bool scalar. Neither momentum nor decay may move theta then.

    Returns:
      theta and the optimiser's state after the step.
    """
    theta, inner = before
    step: Any
    step, inner = optimizer.update(grad, inner, theta)
    after = theta + rate * step, inner
    return jax.tree.map(lambda old, new: jnp.where(refused, old, new), before, after)
