"""Parts of `benchmarks.gpu_tasks` that are not ours: PPO of Brax's training package."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from benchmarks.gpu_tasks import OURS, TASKS, Record, environment_of, goal_of

# Brax's notebooks/training.ipynb; it has SAC for hopper and walker2d and nothing for this swimmer,
# which therefore get what it has for halfcheetah.
_CHEETAH: dict[str, Any] = {
    "num_timesteps": 50_000_000,
    "num_evals": 20,
    "reward_scaling": 1,
    "unroll_length": 20,
    "num_minibatches": 32,
    "num_updates_per_batch": 8,
    "discounting": 0.95,
    "learning_rate": 3e-4,
    "entropy_cost": 1e-3,
    "num_envs": 2048,
    "batch_size": 512,
}
PPO: dict[str, dict[str, Any]] = {name: _CHEETAH for name in TASKS} | {
    "Ant": _CHEETAH
    | {"num_evals": 10, "reward_scaling": 10, "unroll_length": 5, "num_updates_per_batch": 4}
    | {"discounting": 0.97, "entropy_cost": 1e-2, "num_envs": 4096, "batch_size": 2048},
    "Humanoid": _CHEETAH
    | {"num_evals": 10, "reward_scaling": 0.1, "unroll_length": 10}
    | {"discounting": 0.97, "batch_size": 1024},
}
_TINY_PPO: dict[str, Any] = {"num_timesteps": 64, "num_evals": 3, "unroll_length": 2}
_TINY_PPO |= {"num_minibatches": 2, "num_envs": 4, "batch_size": 4, "num_eval_envs": 2}
_TINY_PPO |= {"num_updates_per_batch": 1}
_LONGER = 10  # times the published steps, and evaluations: the deadline is what ends it


def ppo(out: str, task: str, seed: int, seconds: float, dry: bool) -> dict[str, Any]:
    """Train by PPO of Brax's training package on the same physics, as published."""
    lasting = {key: _LONGER * PPO[task][key] for key in ("num_timesteps", "num_evals")}
    settings = PPO[task] | (_TINY_PPO if dry else lasting)
    record = Record(out, f"{task}-ppo", seed, settings, dry)
    import jax
    from brax.training.agents.ppo import networks
    from brax.training.agents.ppo import train as agent

    from pes_rl.config import build_config

    config = build_config({"env": task, **OURS})
    environment, goal = environment_of(config, dry), goal_of(task, dry)
    kept: list[Callable[..., Any]] = []
    sizes = {f"{name}_hidden_layer_sizes": (8,) for name in ("policy", "value")} if dry else {}

    class OverError(Exception):
        """The time is used up, or the threshold reached."""

    def keep(_: int, make_policy: Callable[..., Any], params: Any) -> None:
        kept[:] = [make_policy(params, deterministic=True)]

    def progress(env_steps: int, metrics: Any) -> None:
        record.began()
        value = float(metrics["eval/episode_reward"])
        record.scored(int(env_steps), value, bool(kept) and value >= goal)
        if kept and record.is_over(seconds):
            raise OverError

    jax.device_put_replicated = _replicate
    with contextlib.suppress(OverError):
        agent.train(
            environment=brax_environment(environment),
            episode_length=10 if dry else config.environment.horizon,
            normalize_observations=True,
            network_factory=functools.partial(networks.make_ppo_networks, **sizes),
            seed=seed,
            progress_fn=progress,
            policy_params_fn=keep,
            **settings,
        )
    limit = {"max_episode_steps": 10} if dry else {}
    result = in_gymnasium(f"{task}-v5", kept[0], environment.action, 2 if dry else 100, **limit)
    record.save(seconds=round(record.now, 1), **result)
    return record.row


def _replicate(values: Any, devices: Any) -> Any:
    """What `jax.device_put_replicated`, which Brax calls and JAX has dropped, did on one device."""
    import jax
    import jax.numpy as jnp

    (device,) = devices
    return jax.device_put(jax.tree.map(lambda x: jnp.asarray(x)[None], values), device)


def brax_environment(environment: Any) -> Any:
    """An environment of ours as one of Brax's, whose actions are in [-1, 1]."""
    import jax
    import jax.numpy as jnp
    from brax.envs.base import Env, State

    from pes_rl.envs.jax_state import without_keys

    inner = without_keys(environment)

    class Task(Env):
        observation_size = inner.observation_size
        action_size = inner.action.size
        backend = "mjx"

        def reset(self, rng: jax.Array) -> State:
            state, observation = inner.reset(jax.random.wrap_key_data(rng))
            zero = jnp.zeros((), observation.dtype)
            return State(state, observation, zero, zero)

        def step(self, state: State, action: jax.Array) -> State:
            low, high = jnp.asarray(inner.action.low), jnp.asarray(inner.action.high)
            action = low + (jnp.clip(action, -1, 1) + 1) / 2 * (high - low)
            after, out = inner.step(state.pipeline_state, action.astype(state.obs.dtype))
            sound = jnp.isfinite(out.reward) & jnp.isfinite(out.observation).all()
            done = (out.terminated | ~sound).astype(state.done.dtype)
            reward = jnp.where(sound, out.reward, 0)
            observation = jnp.nan_to_num(out.observation)
            return state.replace(pipeline_state=after, obs=observation, reward=reward, done=done)

    return Task()


def in_gymnasium(
    name: str, policy: Callable[..., Any], action: Any, episodes: int, **options: Any
) -> dict[str, Any]:
    """Returns of a Brax policy in Gymnasium's own environments, mean and 95 % interval."""
    import gymnasium
    import jax
    import numpy as np

    key = jax.random.PRNGKey(0)  # which a deterministic policy does not look at
    act = jax.jit(lambda seen: policy(seen, key)[0])
    environments = gymnasium.make_vec(name, num_envs=episodes, vectorization_mode="sync", **options)
    low, high = np.asarray(action.low), np.asarray(action.high)
    seen, _ = environments.reset(seed=0)
    gained, live = np.zeros(episodes), np.ones(episodes, bool)
    while live.any():
        chosen = np.clip(np.asarray(act(seen.astype(np.float32))), -1, 1)
        seen, reward, terminated, truncated, _ = environments.step(
            (low + (chosen + 1) / 2 * (high - low)).astype(np.float32)
        )
        gained += np.where(live, reward, 0)
        live &= ~(terminated | truncated)
    environments.close()
    half = 1.96 * gained.std() / episodes**0.5
    return {"return": gained.mean(), "interval": [gained.mean() - half, gained.mean() + half]}
