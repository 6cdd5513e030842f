"""What an unrolled problem is: two pure functions of ONE particle, written in JAX, unbatched.

    init(key, theta) -> carry
    step(key, theta, carry) -> (carry, Step(loss, done))

The particle is a whole computation that unrolls in time: a dynamical system, a network in training,
a recurrent network reading text. Populations, antithetic pairs, segments, restarts, gradients and
seeds are added around it, so that a problem knows nothing of who optimises it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from pes_rl.errors import UserError

Array = jax.Array
Carry = Any


class Step(NamedTuple):
    """Outcome of one step: scalar loss, and whether the episode has terminated with it.

    A problem that only its horizon cuts gives False.
    """

    loss: Array
    done: Array | bool


class Problem(Protocol):
    """An unrolled computation, for one particle with parameters theta [P].

    ``key`` is a typed JAX key; the two members of an antithetic pair are given equal ones. The
    carry is any tree of arrays; its structure, shapes and dtypes stay what ``init`` made them.
    """

    def init(self, key: Any, theta: Array, /) -> Carry:
        """Start state of an episode."""
        ...

    def step(self, key: Any, theta: Array, carry: Carry, /) -> tuple[Carry, Step]:
        """Advance the computation by one step."""
        ...


def check_problem(problem: Problem, theta: Array) -> None:
    """Raise UserError, naming the function and the field, where a problem breaks the protocol.

    Only shapes are traced: nothing is computed.
    """
    name = type(problem).__name__
    for function in ("init", "step"):
        if not callable(getattr(problem, function, None)):
            raise UserError(f"{name} has no function {function!r}; see docs/problems.md")
    key = jax.random.key(0)
    start = jax.eval_shape(problem.init, key, theta)
    returned = jax.eval_shape(problem.step, key, theta, start)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Step)):
        raise UserError(
            f"{name}.step returns {_kind(returned)}; return (carry, Step(loss, done)) with "
            "pes_rl.problems.Step"
        )
    carry, step = returned
    _check_carry(name, start, carry)
    _check_scalar(name, "loss", step.loss, jnp.floating, "sum or average it, as a floating number")
    _check_scalar(name, "done", step.done, jnp.bool_, "return a comparison, or False")


def _kind(returned: Any) -> str:
    if isinstance(returned, tuple):
        return f"a {type(returned).__name__} of {', '.join(type(r).__name__ for r in returned)}"
    return f"a {type(returned).__name__}"


def _check_carry(name: str, start: Any, carry: Any) -> None:
    if jax.tree.structure(start) != jax.tree.structure(carry):
        raise UserError(
            f"{name}.step returns the carry {jax.tree.structure(carry)}, but {name}.init made it "
            f"{jax.tree.structure(start)}; return the same structure"
        )
    after = jax.tree.leaves(carry)
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(start), after, strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            field = f"carry{jax.tree_util.keystr(path)}"
            raise UserError(
                f"{name}.step returns {field} as {_aval(new)}, but {name}.init made it "
                f"{_aval(old)}; keep its shape and dtype"
            )


def _check_scalar(name: str, field: str, value: Any, kind: Any, fix: str) -> None:
    described = _aval(value) if hasattr(value, "shape") else f"a {type(value).__name__}"
    if getattr(value, "shape", None) != ():
        raise UserError(f"{name}.step returns Step.{field} as {described}, not a scalar; {fix}")
    if not jnp.issubdtype(value.dtype, kind):
        wanted = "boolean" if kind is jnp.bool_ else "a floating number"
        raise UserError(f"{name}.step returns Step.{field} as {described}, not {wanted}; {fix}")


def _aval(value: Any) -> str:
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"
