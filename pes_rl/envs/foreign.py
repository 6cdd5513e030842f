"""What can be known of other people's environments: by an id, or by the code that makes them."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium

from pes_rl.envs.gymnasium_make import make_env, registered, time_limit, wrapped
from pes_rl.envs.loading import load_attribute, require_maker
from pes_rl.errors import UserError

if TYPE_CHECKING:
    from pes_rl.envs.jax_environment import JaxEnvironment

JAX_SUITES = ("playground", "gymnax")


class Found(NamedTuple):
    """What `pes_rl.envs.registry.Environment` has after the name, in its order."""

    gymnasium_id: str | None
    engines: tuple[str, ...]
    horizon: int | None
    observation_size: int | None = None
    action_size: int | None = None
    threshold: float | None = None


def look_up(name: str, kwargs: Mapping[str, Any], wrappers: str | None) -> Found | None:
    """What is known of the environment called ``name``; None if there is none.

    An id of Gymnasium's says it by its registration; anything else is made to be looked at.
    """
    maker = None
    if registered(name):
        spec = gymnasium.registry[name.rpartition(":")[2]]
        limit = kwargs.get("max_episode_steps", spec.max_episode_steps)
        if limit is not None:
            return Found(name, ("gymnasium",), limit, threshold=spec.reward_threshold)
    elif ":" in name:
        maker = load_attribute(name, f"environment {name!r}")
    elif name.partition("/")[0] not in JAX_SUITES:
        return None
    return _look(name, json.dumps(kwargs), wrappers, maker)


@functools.lru_cache(maxsize=64)
def _look(name: str, kwargs: str, wrappers: str | None, maker: Any) -> Found:
    """Make the environment once and see; anew where the ``maker`` of that name is another."""
    del maker
    made = _made(name, json.loads(kwargs))
    if isinstance(made, gymnasium.Env):
        with contextlib.closing(wrapped(made, name, wrappers)) as env:
            threshold = env.spec.reward_threshold if env.spec else None
            return Found(name, ("gymnasium",), time_limit(env), threshold=threshold)
    from pes_rl.envs.jax_environment import JaxEnvironment, check_environment

    if isinstance(made, JaxEnvironment):
        check_environment(made, name)
        sizes = made.observation_size, made.action.size
        return Found(None, ("jax",), made.horizon, *sizes)
    kind = type(made).__name__
    raise UserError(
        f"environment {name!r} is a {kind}; give a class or function that returns a gymnasium.Env, "
        "or a pes_rl.envs.jax_environment.JaxEnvironment"
    )


def _made(name: str, kwargs: Mapping[str, Any]) -> Any:
    """The environment, of whichever kind it is."""
    suite, _, rest = name.partition("/")
    if suite == "playground":
        from pes_rl.envs.playground_engine import playground_environment

        return playground_environment(rest, kwargs)
    if suite == "gymnax":
        from pes_rl.envs.gymnax_engine import gymnax_environment

        return gymnax_environment(rest, kwargs)
    if registered(name):
        return make_env(name, kwargs)
    maker = load_attribute(name, f"environment {name!r}")
    if not callable(maker):
        if kwargs:
            raise UserError(f"environment {name!r} takes no env_kwargs, it is no function")
        return maker
    require_maker(maker, name, f"environment {name!r}")
    try:
        return maker(**kwargs)
    except TypeError as error:
        if not kwargs and "missing" not in str(error):
            raise
        raise UserError(f"cannot make environment {name!r}: {error}") from error


def foreign_jax_environment(name: str, kwargs: Mapping[str, Any]) -> JaxEnvironment:
    """The JAX environment called ``name``: of a suite, or of a user's own."""
    return _made(name, kwargs)
