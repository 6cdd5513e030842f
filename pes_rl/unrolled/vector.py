"""The floating part of a carry as one vector: what forward-mode methods differentiate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from pes_rl.problems.protocol import Carry, Problem

Array = jax.Array


class Vector(NamedTuple):
    """A carry taken apart: its floating leaves as one vector [S], and the other leaves."""

    values: Array
    rest: list[Any]


def split(carry: Carry) -> Vector:
    """Take a carry apart."""
    leaves = jax.tree.leaves(carry)
    floating = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    rest = [leaf for leaf in leaves if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    return Vector(ravel_pytree(floating)[0], rest)


def joiner(carry: Carry) -> Callable[[Vector], Carry]:
    """The inverse of `split` for carries like this one."""
    leaves, structure = jax.tree.flatten(carry)
    is_float = [bool(jnp.issubdtype(leaf.dtype, jnp.floating)) for leaf in leaves]
    floating = [leaf for leaf, yes in zip(leaves, is_float, strict=True) if yes]
    _, unravel = ravel_pytree(floating)

    def join(vector: Vector) -> Carry:
        values, rest = iter(unravel(vector.values)), iter(vector.rest)
        return jax.tree.unflatten(structure, [next(values if yes else rest) for yes in is_float])

    return join


def vector_step(problem: Problem, key: Any, carry: Carry) -> tuple[Callable, Vector]:
    """``f(theta, values) -> ((values, loss), (rest, done))`` at this carry, and the carry split."""
    now, join = split(carry), joiner(carry)

    def f(theta: Array, values: Array):
        after, out = problem.step(key, theta, join(Vector(values, now.rest)))
        values, rest = split(after)
        return (values, jnp.asarray(out.loss)), (rest, jnp.asarray(out.done))

    return f, now
