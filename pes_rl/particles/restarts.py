"""New starts for the pairs that begin an episode, and for few others.

In a staggered population few pairs restart at a time. A compiled program could only reset all of
them or none, and some starts are worth hundreds of env steps, in which a simulation settles. So
those that restart are put together and reset in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, example_action

Array = jax.Array
_NEGLIGIBLE = 0.05  # of a segment's work


def restart_block(
    environment: JaxEnvironment, num_pairs: int, segment_length: int, horizon: int
) -> int:
    """How many of N pairs to reset at a time: all where that costs little beside their segment.

    Otherwise as many as restart in a segment of K env steps if every episode lasts T of them.
    """
    state, _ = jax.eval_shape(environment.reset, jax.random.key(0))
    start = jax.make_jaxpr(environment.reset)(jax.random.key(0))
    step = jax.make_jaxpr(environment.step)(state, example_action(environment))
    if _work(start.jaxpr) <= _NEGLIGIBLE * 2 * segment_length * _work(step.jaxpr):
        return num_pairs
    return min(-(-num_pairs * segment_length // horizon), num_pairs)


def restart(reset: Callable[[Array], Any], chosen: Array, keys: Array, old: Any, block: int) -> Any:
    """``old``, leaves [N, 2, ...], with one new start for both members of the ``chosen`` pairs [N].

    ``reset`` makes the start of one pair of its key, leaves [...].
    """
    count = len(chosen)
    if block >= count:
        return _replace(chosen, jax.vmap(reset)(keys), old)
    numbers = jnp.argsort(~chosen, stable=True)  # the chosen ones first
    number = chosen.sum()

    def one_block(start: Array, state: Any) -> Any:
        # The last slice begins earlier, rather than end beyond the last pair: it is done again.
        rows = jax.lax.dynamic_slice_in_dim(numbers, start, block)
        there = jax.tree.map(lambda leaf: leaf[rows], state)
        fresh = _replace(chosen[rows], jax.vmap(reset)(keys[rows]), there)
        return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new), state, fresh)

    def go_on(now: tuple[Array, Any]) -> Array:
        return now[0] < number

    def body(now: tuple[Array, Any]) -> tuple[Array, Any]:
        done, state = now
        return done + block, one_block(done, state)

    return jax.lax.while_loop(go_on, body, (jnp.zeros_like(number), old))[1]


def _replace(chosen: Array, fresh: Any, old: Any) -> Any:
    def pick(new: Array, kept: Array) -> Array:
        mask = chosen.reshape(len(chosen), *(1,) * (kept.ndim - 1))
        return jnp.where(mask, new[:, None].astype(kept.dtype), kept)

    return jax.tree.map(pick, fresh, old)


def _work(program: Any) -> int:
    """Numbers that a program computes; a loop of unknown length counts once."""
    total = 0
    for equation in program.eqns:
        inner = map(_work, programs_in(equation.params))
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(inner) or sum(out.aval.size for out in equation.outvars)
    return total


def programs_in(params: dict[str, Any]) -> Iterator[Any]:
    """The bodies of an equation's loops, branches and calls."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            program = getattr(item, "jaxpr", item)
            if hasattr(program, "eqns"):
                yield program
