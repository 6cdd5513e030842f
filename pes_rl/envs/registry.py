"""What can be trained: the eleven MuJoCo tasks and Brax's by name, and everybody else's.

Standard library only, so that ``--help``, typos and configuration errors answer at once; Gymnasium
and JAX are imported only for a name that the table does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pes_rl.envs.tasks import make_task, not_honoured
from pes_rl.errors import UserError, suggest


@dataclass(frozen=True)
class Environment:
    """One environment as the command line knows it, before any engine is imported.

    Attributes:
      name: what users type and runs record.
      gymnasium_id: the Gymnasium environment that scores the policy, an id or the ``module:name``
        of what makes it; None where it is scored on its own engine.
      engines: engines that can step it, the default one first.
      horizon: time limit in env steps, None where Gymnasium sets none.
      observation_size: length of one observation, None where only making it would tell.
      action_size: length of one action, None where only making it would tell.
      threshold: episode return that counts as solved, None where nobody has set a meaningful one.
      backends: for an engine that has several kinds of physics, those it offers here.
      unlike: in what every backend of an engine departs from the task, so that one has to be asked
        for by name; otherwise the first one is the default.
      kwargs: what it is made with.
      wrappers: ``module:function`` that is given the environment and returns what is trained on.
    """

    name: str
    gymnasium_id: str | None
    engines: tuple[str, ...]
    horizon: int | None
    observation_size: int | None = None
    action_size: int | None = None
    threshold: float | None = None
    backends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unlike: Mapping[str, str] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: str | None = None


_HUMANOIDS = ("Humanoid", "HumanoidStandup")
_PGS = "Newton's solver in place of PGS, which MJX lacks"


def _task(
    name: str, horizon: int, observation: int, action: int, threshold: float | None
) -> Environment:
    return Environment(
        name,
        f"{name}-v5",
        ("mujoco", "gymnasium", "mjx"),
        horizon,
        observation,
        action,
        threshold,
        backends={"mjx": ("newton" if name in _HUMANOIDS else "jax", "warp")},
        unlike={"mjx": _PGS} if name in _HUMANOIDS else {},
    )


# Thresholds are those of the ARS paper (Mania et al. 2018) where it has the task, else Gymnasium's
# reward_threshold; none for Pusher, whose registered 0 no policy can reach, and HumanoidStandup.
OFFICIAL: dict[str, Environment] = {
    task.name: task
    for task in (
        _task("Ant", 1000, 105, 8, 3580.0),
        _task("HalfCheetah", 1000, 17, 6, 3430.0),
        _task("Hopper", 1000, 11, 3, 3120.0),
        _task("Humanoid", 1000, 348, 17, 6000.0),
        _task("HumanoidStandup", 1000, 348, 17, None),
        _task("InvertedDoublePendulum", 1000, 9, 1, 9100.0),
        _task("InvertedPendulum", 1000, 4, 1, 950.0),
        _task("Pusher", 100, 23, 7, None),
        _task("Reacher", 50, 10, 2, -3.75),
        _task("Swimmer", 1000, 8, 2, 325.0),
        _task("Walker2d", 1000, 17, 6, 4390.0),
    )
}

_PIPELINES = ("spring", "positional", "generalized", "mjx")


def _brax(name: str, observation: int, action: int) -> Environment:
    return Environment(
        f"brax/{name}", None, ("brax",), 1000, observation, action, backends={"brax": _PIPELINES}
    )


# Brax's own environments, which are other tasks than Gymnasium's of like names: other
# observations, rewards and dynamics. Its `fast` is left out: it is a stub for tests. So is its
# swimmer: the fluid forces of Brax 0.14 call `jnp.clip(a_min=...)`, which JAX 0.10 has dropped.
BRAX: dict[str, Environment] = {
    environment.name: environment
    for environment in (
        _brax("ant", 27, 8),
        _brax("halfcheetah", 17, 6),
        _brax("hopper", 11, 3),
        _brax("humanoid", 244, 17),
        _brax("humanoidstandup", 244, 17),
        _brax("inverted_double_pendulum", 8, 1),
        _brax("inverted_pendulum", 4, 1),
        _brax("pusher", 23, 7),
        _brax("reacher", 11, 2),
        _brax("walker2d", 17, 6),
    )
}

_VERSIONED = re.compile(r"(?P<base>.+)-v(?P<version>\d+)")


def resolve(
    name: str,
    engine: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: str | None = None,
) -> Environment:
    """The environment called ``name``, on ``engine`` if one was asked for.

    ``HalfCheetah`` and ``HalfCheetah-v5`` are the same task. Its other versions are other tasks:
    they are never taken for v5, and only the ``gymnasium`` engine runs them. So are wrapped ones,
    and those with ``kwargs`` that the task's definition does not have.
    """
    base, version = _split(name)
    kwargs = dict(kwargs or {})
    if name.startswith("brax/"):
        environment = _from_brax(name)
    elif base in OFFICIAL and version in (None, "5"):
        environment = _official(base, kwargs, wrappers, engine)
    elif base in OFFICIAL and engine != "gymnasium":
        raise UserError(
            f"environment {name!r} is another version of {base!r}, which is v5 here; "
            f"use --env {base}, or keep {name!r} with --engine gymnasium"
        )
    else:
        environment = _elsewhere(name, kwargs, wrappers)
    if engine is not None and engine not in environment.engines:
        other = _near_brax(name) if engine == "brax" else ""
        raise UserError(
            f"engine {engine!r} has no environment {name!r}{other}; "
            f"use --engine {environment.engines[0]} (pes-rl envs lists every task)"
        )
    if "gymnasium" not in environment.engines and (wrappers or (kwargs and engine == "brax")):
        given = f"wrappers {wrappers!r}" if wrappers else f"env_kwargs {kwargs}"
        raise UserError(f"{given} means nothing for {name!r}, which is no Gymnasium environment")
    return replace(environment, kwargs=kwargs, wrappers=wrappers)


def _from_brax(name: str) -> Environment:
    if name in BRAX:
        return BRAX[name]
    hint = _near_brax(name) or f"; Brax has {', '.join(BRAX)}"
    if name == "brax/swimmer":
        hint = ": Brax's swimmer does not run on this JAX; use --env Swimmer --engine mjx"
    raise UserError(f"unknown environment {name!r}{hint}")


def _official(
    base: str, kwargs: Mapping[str, Any], wrappers: str | None, engine: str | None
) -> Environment:
    """One of the eleven tasks, on those engines that can have it with these ``kwargs``."""
    task = OFFICIAL[base]
    limit = kwargs.get("max_episode_steps", task.horizon)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise UserError(f"max_episode_steps must be a positive whole number, not {limit!r}")
    own = {key: value for key, value in kwargs.items() if key != "max_episode_steps"}
    foreign = not_honoured(base, own)
    if not foreign and not wrappers:
        return replace(task, horizon=limit, observation_size=make_task(base, own).observation_size)
    if engine not in (None, "gymnasium"):
        given = f"env_kwargs {foreign[0]!r}" if foreign else f"wrappers {wrappers!r}"
        raise UserError(f"engine {engine!r} cannot honour {given}; use --engine gymnasium")
    return replace(task, engines=("gymnasium",), horizon=limit, observation_size=None)


def default_backend(environment: Environment, engine: str) -> str | None:
    """The backend of ``engine`` if none is asked for; None where it has none or none will do."""
    backends = environment.backends.get(engine, ())
    return backends[0] if backends and engine not in environment.unlike else None


def check_backend(environment: Environment, engine: str, backend: str | None) -> None:
    """Raise UserError where ``engine`` cannot step ``environment`` with ``backend``."""
    backends = environment.backends.get(engine, ())
    if not backends or backend in backends:
        return  # an engine without backends is not asked
    where = f"engine {engine!r} on {environment.name!r}"
    if engine in environment.unlike:
        raise UserError(
            f"{where} differs from the task: {environment.unlike[engine]}; accept that by "
            f"--backend {' or '.join(backends)}, or use --engine {environment.engines[0]}"
        )
    raise UserError(f"{where} has no backend {backend!r}; use --backend {' or '.join(backends)}")


def _near_brax(name: str) -> str:
    plain = [known.removeprefix("brax/") for known in BRAX]
    return suggest(name.removeprefix("brax/"), plain).replace("'", "'brax/", 1)


def _split(name: str) -> tuple[str, str | None]:
    match = _VERSIONED.fullmatch(name)
    return (match["base"], match["version"]) if match else (name, None)


def _elsewhere(name: str, kwargs: Mapping[str, Any], wrappers: str | None) -> Environment:
    """What the tables do not hold; it is imported to be looked at."""
    near_task = suggest(name, OFFICIAL)
    if near_task and _split(name)[1] is None and not set(name) & set(":/"):
        raise UserError(f"unknown environment {name!r}{near_task}")
    from pes_rl.envs.foreign import look_up

    found = look_up(name, kwargs, wrappers)
    if found is None:
        from gymnasium import registry

        ids = [i for i in registry if _split(i)[0] not in OFFICIAL]
        known = [*OFFICIAL, *(f"{task}-v5" for task in OFFICIAL), *BRAX, *ids]
        own = "an environment of your own is called module:Id-v0, module:Class or module:function"
        raise UserError(f"unknown environment {name!r}{suggest(name, known)}; {own}")
    return Environment(name, *found)
