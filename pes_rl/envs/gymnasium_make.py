"""Make a Gymnasium environment from its id, or from the class or function that returns it."""

from __future__ import annotations

import inspect
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from pes_rl.envs.loading import import_module, load_maker
from pes_rl.envs.packages import import_extra, silence_mujoco
from pes_rl.errors import UserError

# Packages that register environments of a namespace once they are imported, and our extra for each.
_NAMESPACES = {"dm_control": ("shimmy", "dm-control")}


def registered(name: str) -> bool:
    """Whether ``name`` is an id of Gymnasium's, after importing the package that it names."""
    module, _, bare = name.rpartition(":")
    namespace = bare.partition("/")[0] if "/" in bare else ""
    if module:
        import_module(module, f"environment {name!r}")
    elif namespace in _NAMESPACES and bare not in gymnasium.registry:
        logging.getLogger("absl").setLevel(logging.ERROR)  # dm_control's remarks on its own files
        with warnings.catch_warnings():  # of a display that is not there
            warnings.simplefilter("ignore")
            gymnasium.register_envs(import_extra(*_NAMESPACES[namespace]))
    return bare in gymnasium.registry


def make_env(
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: str | None = None,
    **options: Any,
) -> gymnasium.Env:
    """The environment called ``name``, an id or ``module:attribute``, with its own time limit.

    Args:
      name: what `gymnasium.make` knows, or a class or function that returns an environment.
      kwargs: what it is made with.
      wrappers: ``module:function`` that is given the environment and returns another.
      options: ``render_mode``, for those that have one.

    Raises:
      UserError: where Gymnasium refuses, a package is missing, or this makes no environment.
    """
    silence_mujoco()
    given = dict(kwargs or {})
    if registered(name):
        make: Callable[..., Any] = gymnasium.make
        arguments: tuple[str, ...] = (name,)
        options["disable_env_checker"] = True  # it asserts; the engine checks in its own words
    else:
        make, arguments = load_maker(name, f"environment {name!r}"), ()
        options = {key: value for key, value in options.items() if _takes(make, key)}
    return wrapped(_made(lambda: make(*arguments, **given, **options), name, given), name, wrappers)


def wrapped(env: Any, name: str, wrappers: str | None) -> gymnasium.Env:
    """``env`` in the ``wrappers`` called ``module:function``; UserError if that is no environment.

    ``name`` is what made it.
    """
    if wrappers is not None:
        env, name = load_maker(wrappers, "wrappers")(env), wrappers
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"{name!r} returned a {type(env).__name__}, which is no gymnasium.Env")
    return env


def _made(make: Callable[[], Any], name: str, kwargs: Mapping[str, Any]) -> Any:
    try:
        return make()
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"cannot make environment {name!r}: {error}") from error
    except Exception as error:
        if not kwargs:
            raise  # a fault of the environment's, whose author needs to see where
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shown = json.dumps(kwargs)
        raise UserError(f"cannot make environment {name!r} with {shown}: {reason}") from error


def _takes(make: Callable[..., Any], keyword: str) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == keyword or p.kind is p.VAR_KEYWORD for p in parameters)


def time_limit(env: Any) -> int | None:
    """Env steps after which a wrapper of ``env`` truncates its episodes; None without one.

    dm_control's environments, which keep their limit themselves, are asked for it.
    """
    limits = []
    steps = getattr(getattr(env.unwrapped, "_env", None), "_step_limit", math.inf)
    if isinstance(steps, int | float) and steps < math.inf:
        limits.append(math.ceil(steps))
    limits += [int(w._max_episode_steps) for w in wrappers_of(env) if isinstance(w, TimeLimit)]
    return min(limits, default=None)


def wrappers_of(env: Any) -> Iterator[gymnasium.Wrapper]:
    """What wraps the environment, from the outside."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
