"""Gymnax's environments: classic control, bsuite and MinAtar in JAX.

Gymnax counts a time limit among an environment's own ends. Here episodes are cut from outside,
which is no termination, so an environment goes on beyond its limit as if it had none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.envs.jax_state import flat, lean
from pes_rl.envs.packages import import_extra, making, old_gymnax
from pes_rl.errors import UserError, suggest
from pes_rl.policies.action import ActionSpec

Array = jax.Array
_NEVER = int(np.iinfo(np.int32).max)


def gymnax_environment(name: str, kwargs: Mapping[str, Any]) -> JaxEnvironment:
    """Gymnax's environment ``name`` (``CartPole-v1``), limited to its parameters' most steps.

    ``kwargs`` are parameters of the environment, or arguments of its class. Observations are
    flattened; actions are Discrete or Box. Raises UserError where Gymnax is missing or refuses.
    """
    full_name = f"gymnax/{name}"
    with making(full_name):
        env, params = _make(name, kwargs)
        return lean(_as_it_is(env, params, full_name), full_name)


def _as_it_is(env: Any, params: Any, full_name: str) -> JaxEnvironment:
    """With the whole of its state, and a key that every step splits."""
    unlimited = params.replace(max_steps_in_episode=_NEVER)
    space = env.action_space(params)
    spec = _action_spec(space, full_name)

    def reset(key: Array) -> tuple[Any, Array]:
        for_start, for_steps = jax.random.split(key)
        with old_gymnax():
            observation, state = env.reset_env(for_start, params)
        return (state, for_steps), flat(observation)

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        inner, key = state
        key, now = jax.random.split(key)
        action = action if spec.kind == "discrete" else action.reshape(space.shape)
        # Some observe how much of the limit has passed: compilers do the common work only once.
        with old_gymnax():
            observation = flat(env.step_env(now, inner, action, params)[0])
            _, inner, reward, terminated, _ = env.step_env(now, inner, action, unlimited)
        reward = jnp.asarray(reward, observation.dtype).reshape(())
        over = jnp.asarray(terminated, bool).reshape(())
        return (inner, key), JaxTransition(observation, reward, over)

    _, observation = jax.eval_shape(reset, jax.random.key(0))
    horizon = int(params.max_steps_in_episode)
    return JaxEnvironment(reset, step, observation.shape[0], spec, horizon)


def _make(name: str, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The environment and its parameters."""
    gymnax = import_extra("gymnax", "gymnax")
    if name not in gymnax.registered_envs:
        hint = suggest(name, gymnax.registered_envs) or "; there is CartPole-v1, Pendulum-v1, ..."
        raise UserError(f"Gymnax has no environment {name!r}{hint}")
    env, params = gymnax.make(name)
    known = {field.name for field in fields(params)}
    options = {key: value for key, value in kwargs.items() if key not in known}
    if options:
        env, params = gymnax.make(name, **options)
    return env, params.replace(**{key: kwargs[key] for key in kwargs if key in known})


def _action_spec(space: Any, full_name: str) -> ActionSpec:
    if hasattr(space, "n"):
        return ActionSpec("discrete", int(space.n))
    if not hasattr(space, "low"):
        raise UserError(f"{full_name} takes actions of {type(space).__name__}, not Box")
    low, high = (
        tuple(map(float, np.broadcast_to(np.asarray(end, np.float32), space.shape).ravel()))
        for end in (space.low, space.high)
    )
    return ActionSpec("box", len(low), low, high)
