"""Save Gymnasium environments and go on from there, where that can be done exactly.

An environment may offer a pair of methods, ``save_state() -> state`` and ``load_state(state)``; the
state is anything that `pickle` can write, the random generator included. Others are pickled whole,
which many survive and some do not: Gymnasium's `EzPickle` comes back as new. So it is tried out.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from pes_rl.envs.gymnasium_make import wrappers_of

_TRIED = 3  # env steps
_STATELESS = (OrderEnforcing, PassiveEnvChecker)


def save(env: gymnasium.Env) -> bytes:
    """All that the next steps of ``env`` depend on; any exception where it cannot be saved."""
    if not _has_pair(env):
        return pickle.dumps(env, pickle.HIGHEST_PROTOCOL)
    inner: Any = env.unwrapped
    elapsed = [wrapper._elapsed_steps for wrapper in _limits(env)]
    return pickle.dumps((inner.save_state(), elapsed), pickle.HIGHEST_PROTOCOL)


def load(env: gymnasium.Env, saved: bytes) -> gymnasium.Env:
    """An environment that goes on from where `save` was called: ``env``, or one in its place."""
    state = pickle.loads(saved)
    if not _has_pair(env):
        env.close()
        return state
    env.reset(seed=0)  # wrappers refuse to step what has never begun
    inner: Any = env.unwrapped
    inner.load_state(state[0])
    for wrapper, elapsed in zip(_limits(env), state[1], strict=True):
        wrapper._elapsed_steps = elapsed
    return env


def survives(env: gymnasium.Env, act: Callable[[], Any]) -> bool:
    """Whether ``env`` takes the same steps once it is loaded again; it is reset before.

    ``act`` returns an action.
    """
    env.reset(seed=0)
    before, after = ([act() for _ in range(_TRIED)] for _ in range(2))
    if any(over for *_, over in _walk(env, before)):
        return False  # too short to be judged
    with contextlib.suppress(Exception):  # whatever it is that cannot be copied
        saved = save(env)
        expected = _walk(env, after)
        if _has_pair(env):
            return _same(expected, _walk(load(env, saved), after))
        with contextlib.closing(pickle.loads(saved)) as copy:
            return _same(expected, _walk(copy, after))
    return False


def _walk(env: gymnasium.Env, actions: list[Any]) -> list[Any]:
    """What the steps return, until an episode is over."""
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append((observation, reward, terminated, terminated or truncated))
        if terminated or truncated:
            break
    return seen


def _same(first: Any, second: Any) -> bool:
    """Whether two trees of arrays and numbers are equal, NaN included."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(np.array_equal(first, second, equal_nan=np.asarray(first).dtype.kind == "f"))


def _has_pair(env: gymnasium.Env) -> bool:
    inner = env.unwrapped
    if not all(callable(getattr(inner, name, None)) for name in ("save_state", "load_state")):
        return False
    return all(isinstance(wrapper, (*_STATELESS, TimeLimit)) for wrapper in wrappers_of(env))


def _limits(env: gymnasium.Env) -> list[Any]:
    return [wrapper for wrapper in wrappers_of(env) if isinstance(wrapper, TimeLimit)]
