"""``pes_rl.evaluate``: play whole episodes with a saved policy, and say how they went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import count, number, parse_value
from pes_rl.envs.registry import Environment, resolve
from pes_rl.errors import UserError, shown
from pes_rl.evaluation.batched import can_batch, play_batched
from pes_rl.evaluation.episodes import Outcomes, Report, counted
from pes_rl.evaluation.noise import QUIET, Noise
from pes_rl.evaluation.official import play_official
from pes_rl.evaluation.own import play_own
from pes_rl.evaluation.statistics import summarize
from pes_rl.evaluation.versions import own_name, scoring_versions, version_changes
from pes_rl.storage.files import Place
from pes_rl.storage.policy import load_policy
from pes_rl.storage.saved_policy import SavedPolicy


def evaluate(
    path: Place,
    episodes: int = 100,
    seed: int = 0,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    observation_noise: float = 0.0,
    action_noise: float = 0.0,
) -> dict[str, Any]:
    """Play full episodes with a saved policy, deterministically; a terminal shows a bar.

    MuJoCo's batched C engine plays the official tasks, side by side, where every return is to the
    bit what Gymnasium's own steps give. Environments of JAX engines without an official twin are
    played on the engine that trained the policy, all episodes in one compiled program. An episode
    in which the simulation breaks down, by an observation or a reward that is not finite, is
    counted apart and has no return.

    Args:
      path: a run, its folder, a policy folder or ``zoo/NAME``.
      episodes: number of episodes.
      seed: episode i is reset with seed ``seed + i``.
      env_kwargs: what the environment is made with in place of, or beside, what it was trained
        with.
      observation_noise: standard deviation of Gaussian noise on each number observed, in units of
        the deviation that the policy's normaliser has of it (of the number itself without one).
      action_noise: standard deviation of Gaussian noise on each action, in units of half of its
        range (of the action itself where that has no bounds). The sum is clipped to the bounds.
        The noise of episode i too is drawn from ``seed + i``.

    Returns:
      ``episode_return_mean``, ``episode_return_std`` (population), ``episode_return_min``,
      ``episode_return_max``, ``episode_return_interval`` (95 %, Student's t, of the mean; None for
      one episode) and ``episode_length_mean`` of the episodes that did not break down (NaN if all
      did), ``broken_episodes``, how many did, ``episodes``, how many were played,
      ``success_rate``, of the episodes whose last info has ``is_success`` or ``success`` (None
      where none has), ``threshold``, the return that counts as solved (None where nobody has set
      one), ``solved``, whether the mean reaches it and no episode broke down, ``seed``, ``policy``,
      ``environment``, ``env_kwargs``, ``observation_noise``, ``action_noise``, ``versions`` that it
      was scored with, ``version_changes`` since it was trained, as ``"mujoco 3.17.0 -> 3.18.0"``,
      and ``per_episode``, a list of dicts with ``seed``, ``return`` (None if broken), ``length``,
      ``end`` (``terminated``, ``truncated`` or ``broken``) and ``success`` (None if not said).

    Raises:
      UserError: there is no policy at ``path``, it cannot be read, or the environment cannot be
        made so.
    """
    episodes = count("episodes", episodes, least=1, most=MOST_EPISODES)
    seed = count("seed", seed, least=0)
    noise = Noise(
        _deviation("observation_noise", observation_noise),
        _deviation("action_noise", action_noise),
    )
    trained = load_policy(path)
    policy = _remade(trained, {} if env_kwargs is None else env_kwargs)
    noise.check(policy)
    environment = _environment(policy)
    with counted(episodes) as report:
        played = _play(policy, environment, episodes, seed, noise, report)
    summary = summarize(played.returns, played.lengths)
    said = played.success[played.success >= 0]  # not NaN
    reached = summary["episode_return_mean"], environment.threshold
    return {
        **summary,
        "success_rate": float(said.mean()) if said.size else None,
        "threshold": environment.threshold,
        "solved": _solved(*reached, summary["broken_episodes"]),
        "seed": seed,
        "policy": str(policy.path),
        "environment": policy.scored_in,
        "env_kwargs": dict(environment.kwargs),
        "observation_noise": noise.observation,
        "action_noise": noise.action,
        "versions": scoring_versions(own_name(policy)),
        "version_changes": version_changes(trained),
        "per_episode": played.rows(seed),
    }


def episode_returns(policy: SavedPolicy, episodes: int, seed: int) -> np.ndarray:
    """The returns [E] that `evaluate` finds, NaN of episodes that broke down."""
    with counted(episodes) as report:
        played = _play(policy, _environment(policy), episodes, seed, QUIET, report)
    return played.returns


def _play(
    policy: SavedPolicy,
    environment: Environment,
    episodes: int,
    seed: int,
    noise: Noise,
    report: Report,
) -> Outcomes:
    if own_name(policy):
        return play_own(policy, episodes, seed, noise, report)
    if can_batch(environment):
        return play_batched(policy, environment, episodes, seed, noise, report)
    return play_official(policy, episodes, seed, noise, report)


def _environment(policy: SavedPolicy) -> Environment:
    """What is known of the environment that scores the policy."""
    about = policy.environment
    made_with = about.get("kwargs"), about.get("wrappers")
    if about["gymnasium_id"] is None:
        return resolve(about["name"], about["engine"], *made_with)
    return resolve(about["gymnasium_id"], "gymnasium", *made_with)


def _remade(policy: SavedPolicy, kwargs: Any) -> SavedPolicy:
    """The policy, to be scored in its environment made with these ``kwargs`` too."""
    try:
        given = parse_value(dict[str, Any], kwargs)
    except ValueError as expected:
        raise UserError(f"env_kwargs must be {expected}, not {shown(kwargs)}") from None
    about = policy.environment
    if not given:
        return policy
    return replace(policy, environment=about | {"kwargs": (about.get("kwargs") or {}) | given})


def _deviation(field: str, value: Any) -> float:
    deviation = number(field, value)
    if deviation < 0:
        raise UserError(f"{field} must be at least 0, not {deviation:g}")
    return deviation


def _solved(mean: float, threshold: float | None, broken: int) -> bool | None:
    return None if threshold is None else mean >= threshold and not broken
