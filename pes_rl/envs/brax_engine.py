"""Brax's own environments on Brax's physics pipelines.

They are other tasks than Gymnasium's of like names (Brax ends no episode by time, clips and scales
actions in its own way, and pays some survival bonuses on the last step), so policies trained here
are scored here. Nothing of Brax's wrappers is used: its automatic reset starts every episode of a
run from the same few states.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.envs.packages import import_quietly, old_brax, silence_mujoco
from pes_rl.policies.action import ActionSpec

Array = jax.Array


def brax_environment(name: str, backend: str) -> JaxEnvironment:
    """Brax's environment ``name`` (``brax/halfcheetah``) on the physics pipeline ``backend``.

    The state is Brax's pipeline state alone: what else Brax keeps between steps is for logging.
    """
    env = _make(name, backend)
    with old_brax():  # only shapes are asked for: nothing is computed
        example = jax.eval_shape(env.reset, jax.random.key(0))

    def reset(key: Array) -> tuple[Any, Array]:
        with old_brax():
            state = env.reset(key)
        return state.pipeline_state, state.obs

    def step(state: Any, action: Array) -> tuple[Any, JaxTransition]:
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example)
        with old_brax():
            after = env.step(blank.replace(pipeline_state=state), action)
        carried = jax.tree.map(
            lambda new, old: jnp.asarray(new, old.dtype), after.pipeline_state, state
        )
        reward = jnp.asarray(after.reward, after.obs.dtype)
        return carried, JaxTransition(after.obs, reward, after.done != 0)

    size: int = env.action_size
    spec = ActionSpec("box", size, (-1.0,) * size, (1.0,) * size)
    return JaxEnvironment(reset, step, example.obs.shape[0], spec)


def brax_model(name: str, backend: str) -> tuple[Any, float]:
    """The ``mujoco.MjModel`` that the environment was made from, and the seconds of an env step."""
    env = _make(name, backend)
    return env.sys.mj_model, float(env.dt)


def _make(name: str, backend: str) -> Any:
    silence_mujoco()
    with old_brax():
        environments = import_quietly("brax.envs")
        return environments.get_environment(name.removeprefix("brax/"), backend=backend)
