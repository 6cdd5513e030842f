"""Parts of ``python -m benchmarks.gpu --out DIR --part NAME``: tasks to thresholds, ours and PPO.

A part is one task, one seed, one process, and ends by its own deadline (``--seconds``, 220): it
trains until an evaluation reached the threshold and another one, of other episodes, did too (PPO:
until one did), or until the time is used up, then plays 100 episodes in Gymnasium on the C engine.
What is known after every evaluation is in ``DIR/tasks/PART-SEED.json`` at once, and
``DIR/tasks.md`` has a line for each such file, so a GPU that is lent for minutes is used a part at
a time. In this order:

    HalfCheetah Hopper Walker2d Ant Humanoid Swimmer     ours, seed 0, then --seed 1 and 2
    HalfCheetah-ppo Ant-ppo Humanoid-ppo ...             for the same time; needs the package brax

The first part compiles Warp's kernels of its task; XLA's programs are compiled in every part.
*Cold* counts from the start of the part, *warm* from the end of the first call of the program: what
is between is importing, compiling, and that call. ``--dry-run`` passes through all parts on a CPU,
each on InvertedPendulum in tiny sizes, after it has looked at the part's own settings.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASKS = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid", "Swimmer")
PARTS = (*TASKS, *(f"{name}-ppo" for name in TASKS))
RESERVE = 45.0  # seconds for the episodes in Gymnasium
OURS: dict[str, Any] = {"engine": "mjx", "backend": "warp", "num_pairs": 1024}
TINY: dict[str, Any] = {
    "engine": "mjx",
    "backend": "jax",
    "num_pairs": 2,
    "segment_length": 2,
    "horizon": 10,
    "eval_episodes": 1,
    "eval_every": 40,
    "eval_lanes": 1,
}
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
_LONGER = 10  # times the published steps, and evaluations: the deadline is what ends it


class Record:
    """A part's row, on disk from the first evaluation on."""

    def __init__(self, out: str, part: str, seed: int, settings: dict[str, Any]):
        self.start = time.perf_counter()
        self.path = Path(out) / "tasks" / f"{part}-{seed}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.row: dict[str, Any] = {"part": part, "seed": seed, "settings": settings}
        self.row |= {"first_update_seconds": None, "seconds_to_threshold": None, "evaluations": []}
        self._last = 0.0

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def began(self) -> None:
        """The first call of the program is over."""
        if self.row["first_update_seconds"] is None:
            self.row["first_update_seconds"] = round(self.now, 1)

    def scored(self, env_steps: int, value: float, reached: bool) -> None:
        """After an evaluation."""
        self.row["evaluations"].append((env_steps, round(self.now, 1), round(value, 1)))
        if reached and self.row["seconds_to_threshold"] is None:
            self.row["seconds_to_threshold"] = round(self.now, 1)
        self.save(env_steps=env_steps)

    def save(self, **more: Any) -> None:
        self.row |= more
        self.path.write_text(json.dumps(self.row) + "\n")

    def is_over(self, seconds: float) -> bool:
        """Whether what took as long as the last call would end too late."""
        now, before = self.now, self._last
        self._last = now
        return self.row["seconds_to_threshold"] is not None or now + (now - before) > seconds


def ours(out: str, task: str, seed: int, seconds: float, dry: bool) -> dict[str, Any]:
    """Train with the task's preset, which is made for a CPU, and 1024 pairs."""
    record = Record(out, task, seed, OURS)
    from pes_rl.api import train
    from pes_rl.config import build_config
    from pes_rl.evaluation import evaluate

    config = build_config({"env": task, **OURS})
    threshold = config.environment.threshold
    assert threshold is not None
    counts = {"updates": 0}

    def watch(row: dict[str, Any]) -> bool:
        record.began()
        counts["updates"] = row["update"]
        value = row.get("eval/episode_return")
        if value is not None:
            confirmed = row.get("eval/confirmed_return", float("-inf"))
            record.scored(row["env_steps"], value, min(value, confirmed) >= threshold)
        return record.is_over(seconds)

    run = train(
        "InvertedPendulum" if dry else task,
        **(TINY if dry else OURS),
        seed=seed,
        num_env_steps=400 if dry else 10**12,
        checkpoint_every=10**12,
        run_dir=record.path.with_suffix(f".{time.time_ns()}"),
        stop_at=threshold,
        callback=watch,
    )
    official = evaluate(run.path, episodes=2 if dry else 100)
    scores = {"return": official["episode_return_mean"]} | counts
    record.save(
        interval=official["episode_return_interval"], seconds=round(record.now, 1), **scores
    )
    return record.row


def ppo(out: str, task: str, seed: int, seconds: float, dry: bool) -> dict[str, Any]:
    """Train by PPO of Brax's training package on the same physics, as published."""
    settings = PPO[task]
    record = Record(out, f"{task}-ppo", seed, settings)
    from brax.training.agents.ppo import train as agent

    from pes_rl.config import build_config
    from pes_rl.envs.make import make_jax_environment

    name, fields = ("InvertedPendulum", TINY) if dry else (task, OURS)
    config = build_config({"env": name, **fields})
    threshold = build_config({"env": task, **OURS}).environment.threshold
    assert threshold is not None
    environment = make_jax_environment(config.environment, "mjx", config.backend)
    kept: list[Callable[..., Any]] = []

    class OverError(Exception):
        """The time is used up, or the threshold reached."""

    def keep(_: int, make_policy: Callable[..., Any], params: Any) -> None:
        kept[:] = [make_policy(params, deterministic=True)]

    def progress(env_steps: int, metrics: Any) -> None:
        record.began()
        value = float(metrics["eval/episode_reward"])
        record.scored(int(env_steps), value, bool(kept) and value >= threshold)
        if kept and record.is_over(seconds):
            raise OverError

    wanted = _TINY_PPO if dry else {}
    lasting = {
        key: (1 if dry else _LONGER) * settings[key] for key in ("num_timesteps", "num_evals")
    }
    with contextlib.suppress(OverError):
        agent.train(
            environment=brax_environment(environment),
            episode_length=10 if dry else config.environment.horizon,
            normalize_observations=True,
            seed=seed,
            progress_fn=progress,
            policy_params_fn=keep,
            **(settings | lasting | wanted),
        )
    result = in_gymnasium(f"{name}-v5", kept[0], environment.action, 2 if dry else 100)
    record.save(seconds=round(record.now, 1), **result)
    return record.row


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
    name: str, policy: Callable[..., Any], action: Any, episodes: int
) -> dict[str, Any]:
    """Returns of a Brax policy in Gymnasium's own environments, mean and 95 % interval."""
    import gymnasium
    import jax
    import numpy as np

    key = jax.random.PRNGKey(0)  # which a deterministic policy does not look at
    act = jax.jit(lambda seen: policy(seen, key)[0])
    environments = gymnasium.make_vec(name, num_envs=episodes, vectorization_mode="sync")
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


def table(out: Path) -> str:
    """``tasks.md``: a line for each part that has come to an evaluation."""
    lines = [
        "# Time to threshold on one GPU",
        "",
        "Made by `python -m benchmarks.gpu --part NAME`; cold and warm as its docstring says, the "
        "mean return of 100 episodes in Gymnasium on the C engine with its 95 % interval.",
        "",
        "| part | seed | cold s | warm s | env steps | updates | best evaluation | in Gymnasium |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [json.loads(path.read_text()) for path in sorted((out / "tasks").glob("*.json"))]
    for row in sorted(rows, key=lambda row: (PARTS.index(row["part"]), row["seed"])):
        lines.append(_line(row))
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    head = f"| {row['part']} | {row['seed']} |"
    if not row["evaluations"]:
        return f"{head} {row.get('problem', 'no evaluation')} | | | | | |"
    cold, last = row["seconds_to_threshold"], row["evaluations"][-1][1]
    reached = f"{cold} | {cold - row['first_update_seconds']:.1f}" if cold else f"not in {last} |"
    best = max(value for _, _, value in row["evaluations"])
    score = row.get("problem", "not played")
    if "return" in row:
        score = f"{row['return']:.0f} ({row['interval'][0]:.0f} to {row['interval'][1]:.0f})"
    updates = f"{row['updates']:,}" if "updates" in row else ""
    return f"{head} {reached} | {row['env_steps']:,} | {updates} | {best:.0f} | {score} |"
