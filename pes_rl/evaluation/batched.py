"""Play the official tasks on MuJoCo's batched C engine, with the very bits of Gymnasium's own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl.envs.make import make_simulator
from pes_rl.envs.registry import Environment
from pes_rl.evaluation.episodes import Outcomes, Report, unheard
from pes_rl.evaluation.noise import QUIET, Actor, Noise
from pes_rl.evaluation.official import check_fit, step_limit
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_AT_A_TIME = 100  # episodes side by side
# Observations are Gymnasium's to the bit in all eleven tasks; the rewards of these two are sums
# that Gymnasium adds in another order.
_OTHER_BITS = ("Humanoid", "HumanoidStandup")


def can_batch(environment: Environment) -> bool:
    """Whether the engine steps ``environment``, and every return is Gymnasium's to the bit."""
    return "mujoco" in environment.engines and environment.name not in _OTHER_BITS


def play_batched(
    policy: SavedPolicy,
    environment: Environment,
    episodes: int,
    seed: int,
    noise: Noise = QUIET,
    report: Report = unheard,
) -> Outcomes:
    """What `play_official` returns, from Gymnasium's resets on by the engine's steps."""
    from pes_rl.envs.gymnasium_make import make_env

    assert environment.gymnasium_id is not None
    together = min(episodes, _AT_A_TIME)
    played: list[Outcomes] = []
    with (
        single_threaded_math(),
        contextlib.closing(make_env(environment.gymnasium_id, environment.kwargs)) as env,
        contextlib.closing(make_simulator(environment, "mujoco", together)) as simulator,
    ):
        check_fit(policy, env)
        limit = step_limit(policy, env)
        for first in range(0, episodes, together):
            seeds = [seed + i for i in range(first, min(first + together, episodes))]
            played.append(
                _play(policy, env, simulator, seeds, limit, noise, lambda n, f=first: report(f + n))
            )
    return Outcomes(*map(np.concatenate, zip(*played, strict=True)))


def _play(
    policy: SavedPolicy,
    env: gymnasium.Env,
    simulator: Any,
    seeds: list[int],
    limit: float,
    noise: Noise,
    report: Report,
) -> Outcomes:
    """One episode a seed, side by side."""
    count = len(seeds)
    rows = np.arange(count)
    observation = simulator.reset_to(rows, *_starts(env, seeds))
    memory = np.zeros((count, policy.policy.state_size), np.float32)
    returns, lengths = np.zeros(count), np.zeros(count, np.int64)
    terminated, actor, length = np.zeros(count, bool), Actor(policy, noise, seeds), 0
    while len(rows):
        action, state = actor.act(observation, memory[rows], rows)
        if state is not None:
            memory[rows] = state
        out = simulator.step(rows, action)
        length += 1
        # As in `play`: that MuJoCo has warned, and begun anew by itself, Gymnasium does not say.
        parts = action, out.observation, out.reward[:, None]
        sound = np.all([np.isfinite(part).all(axis=-1) for part in parts], axis=0)
        returns[rows] += np.where(sound, out.reward, np.nan)
        lengths[rows], terminated[rows] = length, out.terminated
        on = sound & ~out.terminated & (length < limit)
        rows, observation = rows[on], out.observation[on]
        report(count - len(rows) * max(0.0, 1 - length / limit))
    return Outcomes(returns, lengths, terminated, np.full(count, np.nan))


def _starts(env: gymnasium.Env, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities after Gymnasium's resets."""
    inner: Any = env.unwrapped
    data, starts = inner.data, []
    for seed in seeds:
        env.reset(seed=seed)
        starts.append((data.qpos.copy(), data.qvel.copy()))
    qpos, qvel = zip(*starts, strict=True)
    return np.stack(qpos), np.stack(qvel)
