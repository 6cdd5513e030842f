"""MuJoCo Playground's environments, DeepMind's control suite and robots on MJX.

What is stepped is the environment itself, without the wrappers of Playground's trainers: nothing
resets on its own to one of a few stored states, and no action is repeated. Actions are in [-1, 1],
as everything in Playground takes them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.envs.jax_state import flat, lean
from pes_rl.envs.packages import import_extra, making, old_brax, silence_mujoco
from pes_rl.errors import UserError, suggest
from pes_rl.policies.action import ActionSpec

Array = jax.Array
_IMPLEMENTATION = "jax"  # MJX's own; Playground's default is the one for NVIDIA GPUs


def playground_environment(name: str, kwargs: Mapping[str, Any]) -> JaxEnvironment:
    """MuJoCo Playground's environment ``name`` (``CheetahRun``), limited to its episode length.

    ``kwargs`` change its configuration; names inside it are joined by dots. Of observations in
    parts it is ``state`` that policies see, or all parts where none is called so. The first robot
    is preceded by Playground's download of their models. Raises UserError where Playground is
    missing or refuses.
    """
    full_name = f"playground/{name}"
    with making(full_name):
        env, horizon = _load(name, kwargs)
        return lean(_as_it_is(env, horizon), full_name)


def _as_it_is(env: Any, horizon: int) -> JaxEnvironment:
    """With the whole of its state."""

    def reset(key: Array) -> tuple[Any, Array]:
        with old_brax():
            state = env.reset(key)
        return state, _seen(state)

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        with old_brax():
            state = env.step(state, action)
        seen = _seen(state)
        return state, JaxTransition(seen, jnp.asarray(state.reward, seen.dtype), state.done != 0)

    reset = jax.jit(reset)  # traced once for all that look at its shapes
    _, observation = jax.eval_shape(reset, jax.random.key(0))
    size: int = env.action_size
    action = ActionSpec("box", size, (-1.0,) * size, (1.0,) * size)
    return JaxEnvironment(reset, step, observation.shape[0], action, horizon)


def _seen(state: Any) -> Array:
    observation = state.obs
    if isinstance(observation, Mapping) and "state" in observation:
        observation = observation["state"]
    return flat(observation)


def _load(name: str, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    """The environment, and its episode length."""
    registry = import_extra("mujoco_playground", "playground").registry
    silence_mujoco()
    if name not in registry.ALL_ENVS:
        hint = suggest(name, registry.ALL_ENVS) or "; there is CheetahRun, CartpoleBalance, ..."
        raise UserError(f"MuJoCo Playground has no environment {name!r}{hint}")
    if kwargs.get("impl", _IMPLEMENTATION) != _IMPLEMENTATION:
        raise UserError(f"playground/{name} runs with impl {_IMPLEMENTATION!r} only")
    config = registry.get_default_config(name)
    for option in kwargs:
        if option.partition(".")[0] not in config:
            hint = suggest(option, config)
            raise UserError(f"playground/{name} has no option {option!r}{hint}")
    config.update_from_flattened_dict({"impl": _IMPLEMENTATION, **kwargs})
    try:
        # What it says while it downloads is not the command's output.
        with contextlib.redirect_stdout(sys.stderr):
            return registry.load(name, config), int(config.episode_length)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"playground/{name} needs the robots of mujoco_menagerie, whose download failed; "
            "try again where git reaches GitHub"
        ) from error
