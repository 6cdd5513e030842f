"""What an environment of somebody else carries from step to step, made fit to be carried.

Simulators keep far more in their states than their next step reads: MuJoCo's data of a cheetah are
some ninety arrays, of which eight matter. Which those are is read off the program of one step.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition, example_action
from pes_rl.errors import UserError

Array = jax.Array


def lean(environment: JaxEnvironment, name: str) -> JaxEnvironment:
    """The same environment, carrying nothing that no later observation, reward or end depends on.

    Its state has the structure of the environment's own, with None in place of what is left out,
    and keeps its dtypes: a leaf of which ``reset`` and ``step`` give different ones is carried in
    one that holds both. Raises UserError, naming ``name``, where they give other trees or shapes.
    """
    # Jitted functions are traced once for all that look at their shapes.
    own_reset, own_step = jax.jit(environment.reset), jax.jit(environment.step)
    state, _ = jax.eval_shape(own_reset, jax.random.key(0))
    leaves, structure = jax.tree.flatten(state)
    action = example_action(environment)

    def flat_step(leaves: list[Any], action: Array) -> tuple[list[Any], JaxTransition]:
        state, out = own_step(jax.tree.unflatten(structure, leaves), action)
        if jax.tree.structure(state) != structure:
            raise UserError(f"{name}: a step's state has another structure than a reset's")
        return jax.tree.leaves(state), out

    likes, program = _stable_program(flat_step, leaves, action, name)
    needed = _needed(program, len(likes))

    def trim(state: Any) -> Any:
        found = zip(jax.tree.leaves(state), likes, needed, strict=True)
        kept = [_cast(leaf, like) if use else None for leaf, like, use in found]
        return jax.tree.unflatten(structure, kept)

    def fill(state: Any) -> Any:
        kept = iter(jax.tree.leaves(state))
        blank = [next(kept) if use else _blank(x) for x, use in zip(likes, needed, strict=True)]
        return jax.tree.unflatten(structure, blank)

    def reset(key: Array) -> tuple[Any, Array]:
        state, observation = own_reset(key)
        return trim(state), observation

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        state, out = own_step(fill(state), action)
        return trim(state), out

    return environment._replace(reset=reset, step=step)


def _stable_program(step: Any, leaves: list[Any], action: Any, name: str) -> tuple[list[Any], Any]:
    """What is carried, and the program of a step that gives what it is given."""
    likes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    program = jax.make_jaxpr(step)(likes, action)
    after = [_wider(a, b, name) for a, b in zip(likes, program.out_avals, strict=False)]
    return (likes, program.jaxpr) if after == likes else _stable_program(step, after, action, name)


def _needed(program: Any, size: int) -> list[bool]:
    """Which of the first ``size`` inputs, which are also outputs, anything that counts depends on.

    What counts are all other outputs, and in later steps so does what was needed for them.
    """
    needed, before = [False] * size, None
    while needed != before:
        before = needed
        _, read = dce_jaxpr(program, [*needed, *[True] * (len(program.outvars) - size)])
        needed = [a or b for a, b in zip(needed, read, strict=False)]
    return needed


def _wider(old: Any, new: Any, name: str) -> jax.ShapeDtypeStruct:
    if old.shape != new.shape:
        raise UserError(
            f"{name}: its state has {old.shape} after a reset, {new.shape} after a step"
        )
    dtype = old.dtype if old.dtype == new.dtype else jnp.promote_types(old.dtype, new.dtype)
    return jax.ShapeDtypeStruct(old.shape, dtype)


def _cast(leaf: Any, like: jax.ShapeDtypeStruct) -> Array:
    return leaf if is_key(leaf) else jnp.asarray(leaf, like.dtype)


def _blank(like: jax.ShapeDtypeStruct) -> Array:
    """Something of this shape that nobody reads."""
    if is_key(like):
        return jnp.broadcast_to(jax.random.key(0), like.shape)
    return jnp.zeros(like.shape, like.dtype)


def flat(observation: Any) -> Array:
    """An observation as floats [O]; the entries of a dict in the order of their names."""
    leaves = jax.tree.leaves(observation)
    return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in leaves])


def is_key(leaf: Any) -> bool:
    """Whether an array, or its description, is of typed JAX keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@jax.tree_util.register_pytree_node_class
class KeyData:
    """Typed keys as the numbers that they are made of, in a tree."""

    def __init__(self, data: Any, kind: Any):
        self.data, self.kind = data, kind

    def tree_flatten(self) -> tuple[tuple[Any], Any]:
        """The numbers, and the kind of the keys."""
        return (self.data,), self.kind

    @classmethod
    def tree_unflatten(cls, kind: Any, children: tuple[Any]) -> KeyData:
        """From what `tree_flatten` gave."""
        return cls(*children, kind)


def without_keys(environment: JaxEnvironment) -> JaxEnvironment:
    """The same environment with `KeyData` for typed keys in its state.

    So that whoever carries, places or saves states has nothing but numbers in them.
    """

    def unwrap(leaf: Any) -> Any:
        return (
            KeyData(jax.random.key_data(leaf), jax.random.key_impl(leaf)) if is_key(leaf) else leaf
        )

    def wrap(leaf: Any) -> Any:
        if isinstance(leaf, KeyData):
            return jax.random.wrap_key_data(leaf.data, impl=leaf.kind)
        return leaf

    def reset(key: Array) -> tuple[Any, Array]:
        state, observation = environment.reset(key)
        return jax.tree.map(unwrap, state), observation

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        own = jax.tree.map(wrap, state, is_leaf=lambda node: isinstance(node, KeyData))
        state, out = environment.step(own, action)
        return jax.tree.map(unwrap, state), out

    return environment._replace(reset=reset, step=step)
