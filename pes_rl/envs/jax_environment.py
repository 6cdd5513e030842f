"""What an environment that runs inside a JAX program must offer: pure functions of ONE particle.

This is what to write to train in an environment of one's own on the device::

    def make() -> JaxEnvironment:
        return JaxEnvironment(reset, step, 3, ActionSpec("box", 1, (-2.0,), (2.0,)), horizon=200)

``examples/jax_environment.py`` is a whole one. Populations, seeds, episodes, time limits and broken
simulations are added around it, so that one small pair of functions serves training, evaluation
and speed measurements on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec

Array = jax.Array


class JaxTransition(NamedTuple):
    """One env step of one particle.

    Attributes:
      observation: [O] what the policy sees next; carried, never recomputed from the state.
      reward: scalar, of the same floating type.
      terminated: bool scalar, the task's own end (time limits are the runner's business).
    """

    observation: Array
    reward: Array
    terminated: Array


class JaxEnvironment(NamedTuple):
    """Pure functions of one particle, to be vmapped, scanned and jitted by whoever runs them.

    No function has a leading axis for particles, sees a time limit, or resets by itself: episodes
    are cut from outside, which is no termination, and begin again from ``reset``. A state may be
    stepped after its episode has ended, and what comes out then means nothing. A simulation that
    breaks down shows it by an observation or a reward that is not finite.

    The state is any tree of arrays (a NamedTuple, a dict, a flax dataclass), among them JAX keys,
    typed or raw. It is carried for every particle, so it should hold what the next steps depend on
    and no more; an environment with noise of its own carries a key in it, and splits it in each
    step.

    Attributes:
      reset: ``key -> (state, observation [O])``, the start of an episode from a typed JAX key.
      step: ``(state, action) -> (state, JaxTransition)``. The action is one that the action space
        allows: [A] in the box, or an int32 scalar. The state keeps the structure, shapes and
        dtypes that ``reset`` gave it.
      observation_size: O.
      action: the action space, ``ActionSpec("box", A, low, high)`` or
        ``ActionSpec("discrete", n)``.
      horizon: time limit of an episode in env steps; None leaves it to ``--horizon``.
    """

    reset: Callable[[Any], tuple[Any, Array]]
    step: Callable[[Any, Array], tuple[Any, JaxTransition]]
    observation_size: int
    action: ActionSpec
    horizon: int | None = None


def first_inputs(environment: JaxEnvironment, size: int) -> JaxEnvironment:
    """The same environment with the first ``size`` numbers of its observations."""
    if size == environment.observation_size:
        return environment

    def reset(key: Any) -> tuple[Any, Array]:
        state, observation = environment.reset(key)
        return state, observation[:size]

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        state, out = environment.step(state, action)
        return state, out._replace(observation=out.observation[:size])

    return environment._replace(reset=reset, step=step, observation_size=size)


def example_action(environment: JaxEnvironment, dtype: Any = jnp.float32) -> Any:
    """Shape and type of one action of one particle, where policies compute in ``dtype``."""
    output = jax.ShapeDtypeStruct((environment.action.size,), dtype)
    return jax.eval_shape(lambda x: environment.action.to_action(jnp, x), output)


def check_environment(environment: Any, name: str) -> None:
    """Raise UserError, naming ``name``, unless both functions give what `JaxEnvironment` says.

    They are traced once, nothing is computed. What they raise themselves is raised as it is.
    """
    if not isinstance(environment, JaxEnvironment):
        raise UserError(f"{name} is a {type(environment).__name__}, not a JaxEnvironment")
    state, observation = _pair(jax.eval_shape(environment.reset, jax.random.key(0)), name, "reset")
    action = example_action(environment)
    after, out = _pair(jax.eval_shape(environment.step, state, action), name, "step")
    if not isinstance(out, JaxTransition):
        raise UserError(f"{name}: step returns a {type(out).__name__}, not a JaxTransition")
    size = environment.observation_size
    for function, seen in (("reset", observation), ("step", out.observation)):
        if not (_floating(seen) and seen.shape == (size,)):
            raise UserError(f"{name}: {function} observes {_say(seen)}, not floats [{size}]")
    if not (_floating(out.reward) and out.reward.shape == ()):
        raise UserError(f"{name}: step's reward is {_say(out.reward)}, not one float")
    if not (hasattr(out.terminated, "shape") and out.terminated.shape == ()):
        raise UserError(f"{name}: step's terminated is {_say(out.terminated)}, not one bool")
    if jax.tree.structure(state) != jax.tree.structure(after):
        raise UserError(f"{name}: step's state has another structure than reset's")
    leaves = zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(after), strict=True)
    for (path, old), new in leaves:
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            where = f"state{jax.tree_util.keystr(path)}"
            raise UserError(f"{name}: {where} is {_say(old)} after reset, {_say(new)} after step")


def _pair(result: Any, name: str, function: str) -> tuple[Any, Any]:
    if isinstance(result, tuple) and len(result) == 2:
        return result
    raise UserError(f"{name}: {function} must return two things, not a {type(result).__name__}")


def _floating(array: Any) -> bool:
    return hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jnp.floating)


def _say(array: Any) -> str:
    """``"int32[3]"``."""
    if not hasattr(array, "dtype"):
        return f"a {type(array).__name__}"
    return f"{array.dtype}{list(array.shape)}"
