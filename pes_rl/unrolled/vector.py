"""The floating part of a carry as one vector: what forward-mode methods differentiate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from pes_rl.problems.protocol import Carry, Problem, Step

Array = jax.Array


def values_of(carry: Carry) -> Array:
    """The floating leaves of a carry, one after the other [S]."""
    return ravel_pytree([leaf for leaf in jax.tree.leaves(carry) if _is_floating(leaf)])[0]


def with_values(carry: Carry, values: Array) -> Carry:
    """The carry with its floating leaves replaced by ``values`` [S]."""
    leaves, structure = jax.tree.flatten(carry)
    unravel = ravel_pytree([leaf for leaf in leaves if _is_floating(leaf)])[1]
    new = iter(unravel(values))
    return structure.unflatten([next(new) if _is_floating(leaf) else leaf for leaf in leaves])


def start(problem: Problem, key: Any, theta: Array) -> tuple[Array, Carry]:
    """A start state, as values [S] to be differentiated in theta, and as a carry."""
    carry = problem.init(key, theta)
    return values_of(carry), carry


def step(
    problem: Problem, key: Any, carry: Carry, theta: Array, values: Array
) -> tuple[tuple[Array, Array], tuple[Carry, Step]]:
    """One step of the carry with these values, to be differentiated in theta and ``values`` [S].

    Returns:
      ``((values [S] after it, loss), (carry, step))``; the second pair is not differentiated.
    """
    after, out = problem.step(key, theta, with_values(carry, values))
    out = Step(jnp.asarray(out.loss), jnp.asarray(out.done))
    return (values_of(after), out.loss), (after, out)


def _is_floating(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
