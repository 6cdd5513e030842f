"""Play in the official environment: one episode after the other, by Gymnasium's own step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pes_rl.errors import UserError
from pes_rl.evaluation.episodes import Outcomes, Report, unheard
from pes_rl.evaluation.noise import QUIET, Actor, Noise
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_SUCCESS = ("is_success", "success")  # keys of infos: Stable-Baselines3's and Meta-World's


class Step(NamedTuple):
    """One env step of an episode.

    Attributes:
      reward: NaN where the simulation broke down, which ends the episode.
      terminated: whether the task ended it.
      success: 1 or 0 where the environment says so, else NaN.
    """

    reward: float
    terminated: bool
    success: float


def play_official(
    policy: SavedPolicy,
    episodes: int,
    seed: int,
    noise: Noise = QUIET,
    report: Report = unheard,
) -> Outcomes:
    """Play episodes whose seeds are ``seed``, ``seed + 1``, ..."""
    from pes_rl.envs.gymnasium_make import make_env

    ends = []
    about = policy.environment
    made = make_env(about["gymnasium_id"], about.get("kwargs"), about.get("wrappers"))
    with single_threaded_math(), contextlib.closing(made) as env:
        limit = step_limit(policy, env)
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed + episode)
            total, length, step = 0.0, 0, None
            for step in play(policy, env, observation, Actor(policy, noise, [seed + episode])):
                total += step.reward
                length += 1
                report(episode + min(length / limit, 1))
            assert step is not None
            ends.append((total, length, step.terminated, step.success))
    returns, lengths, terminated, success = zip(*ends, strict=True)
    return Outcomes(np.array(returns), np.array(lengths), np.array(terminated), np.array(success))


def play(
    policy: SavedPolicy, env: gymnasium.Env, observation: Any, actor: Actor | None = None
) -> Iterator[Step]:
    """Play from the first ``observation`` of an episode to its end, deterministically.

    Each step is told of right after it, while ``env`` is in the state it led to. Where the
    simulation breaks down the episode ends. An ``actor`` adds its noise.
    """
    from pes_rl.envs.gymnasium_spaces import native

    check_fit(policy, env)
    actor = actor or Actor(policy, QUIET, [])
    limit = step_limit(policy, env)
    state, over, length = None, False, 0
    while not over:
        action, state = actor.act(observation, state)
        act = native(env.action_space, action)
        observation, reward, terminated, truncated, info = env.step(act)
        length += 1
        # MuJoCo takes a control that is not a number for 0, and goes on.
        seen = policy.observation.flatten(observation)
        sound = all(np.isfinite(part).all() for part in (action, seen, reward))
        over = terminated or truncated or length >= limit or not sound
        yield Step(float(reward) if sound else math.nan, bool(terminated), _success(info))


def step_limit(policy: SavedPolicy, env: gymnasium.Env) -> float:
    """The environment's time limit, or where there is none, the horizon of training."""
    from pes_rl.envs.gymnasium_make import time_limit

    return time_limit(env) or policy.environment.get("horizon", math.inf)


def _success(info: Mapping[str, Any]) -> float:
    for name in _SUCCESS:
        if name in info:
            with contextlib.suppress(TypeError, ValueError):  # others may mean other things
                return float(bool(info[name]))
    return math.nan


def check_fit(policy: SavedPolicy, env: gymnasium.Env) -> None:
    """UserError where ``env`` is no longer what the policy was trained in."""
    from pes_rl.envs.gymnasium_spaces import action_spec, observation_spec

    name = policy.scored_in
    now = action_spec(env.action_space, name)
    seen = observation_spec(env.observation_space, name)
    for what, is_now, was in (
        ("actions are", (now.kind, now.size), (policy.action.kind, policy.action.size)),
        ("observations have length", seen.size, policy.observation.size),
    ):
        if is_now != was:
            raise UserError(
                f"environment {name!r} has changed since the policy was trained: its {what} "
                f"{is_now}, the policy's {was}; train anew"
            )
