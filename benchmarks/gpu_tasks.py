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
is between is importing, compiling, and that call. ``--dry-run`` passes through all parts, or the
named one, on the CPU: the same code on the same task with Warp on its CPU device, after a look at
the part's own settings, but with two pairs, episodes of ten env steps and a goal that any policy
reaches. Its rows have files of their own, and lines that say what they are.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

TASKS = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid", "Swimmer")
PARTS = (*TASKS, *(f"{name}-ppo" for name in TASKS))
RESERVE = 45.0  # seconds for the episodes in Gymnasium
OURS: dict[str, Any] = {"engine": "mjx", "backend": "warp", "num_pairs": 1024}
TINY: dict[str, Any] = {
    "num_pairs": 2,
    "horizon": 10,
    "env_kwargs": {"max_episode_steps": 10},
    "eval_episodes": 1,
    "eval_every": 80,
    "eval_lanes": 1,
    "num_env_steps": 400,
}
_ANY_RETURN = -1e9  # the goal of a dry run


def row_path(out: Path, part: str, seed: int, dry: bool) -> Path:
    """Where a part's row is kept."""
    return out / "tasks" / f"{part}-{seed}{'-dry' if dry else ''}.json"


class Record:
    """A part's row, on disk from the first evaluation on."""

    def __init__(self, out: str, part: str, seed: int, settings: dict[str, Any], dry: bool = False):
        self.start = time.perf_counter()
        self.path = row_path(Path(out), part, seed, dry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.row: dict[str, Any] = {"part": part, "seed": seed, "dry_run": dry}
        self.row |= {"settings": settings}
        self.row |= {"first_update_seconds": None, "seconds_to_threshold": None, "evaluations": []}
        self._last = 0.0

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def began(self) -> None:
        """The first call of the program is over."""
        if self.row["first_update_seconds"] is None:
            self._last = self.now  # no other call will compile anything
            self.row["first_update_seconds"] = round(self._last, 1)

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
    """Train with the task's preset for this backend, or else the one for a CPU, and 1024 pairs."""
    settings = OURS | (TINY if dry else {"num_env_steps": 10**12})
    record = Record(out, task, seed, settings, dry)
    from pes_rl.config import build_config
    from pes_rl.evaluation import evaluate
    from pes_rl.runs.run import train_from_config
    from pes_rl.training.make import make_trainer

    goal = goal_of(task, dry)
    config = build_config({"env": task, **settings, "seed": seed, "checkpoint_every": 10**12})
    counts = {"updates": 0}

    def watch(row: dict[str, Any]) -> bool:
        record.began()
        counts["updates"] = row["update"]
        value = row.get("eval/episode_return")
        if value is not None:
            confirmed = row.get("eval/confirmed_return", float("-inf"))
            record.scored(row["env_steps"], value, min(value, confirmed) >= goal)
        return record.is_over(seconds)

    run = train_from_config(
        config,
        record.path.with_suffix(f".{time.time_ns()}"),
        f"benchmarks.gpu --part {task}",
        callback=watch,
        stop_at=goal,
        make=_on_cpu if dry else make_trainer,
    )
    official = evaluate(run.path, episodes=2 if dry else 100)
    scores = {"return": official["episode_return_mean"]} | counts
    record.save(
        interval=official["episode_return_interval"], seconds=round(record.now, 1), **scores
    )
    return record.row


def goal_of(task: str, dry: bool) -> float:
    """The task's threshold, by the part's own settings; a dry run's is reached by anything."""
    from pes_rl.config import build_config

    threshold = build_config({"env": task, **OURS}).environment.threshold
    assert threshold is not None
    return _ANY_RETURN if dry else threshold


def environment_of(config: Any, dry: bool) -> Any:
    """The task on Warp; a dry run's on Warp's CPU device, which training refuses."""
    from pes_rl.envs.jax_environment import JaxEnvironment
    from pes_rl.envs.make import make_jax_environment
    from pes_rl.envs.mjx_engine import MjxTask
    from pes_rl.envs.tasks import TASKS as DEFINED

    if not dry:
        return make_jax_environment(config.environment, config.engine, config.backend)
    task = DEFINED[config.env]
    engine = MjxTask(task, config.backend)
    return JaxEnvironment(engine.reset, engine.step, task.observation_size, engine.action)


def _on_cpu(config: Any, _: Any) -> Any:
    from pes_rl.training.device import DeviceTrainer

    return DeviceTrainer(config, environment=environment_of(config, dry=True))


def table(out: Path) -> str:
    """``tasks.md``: a line for each part that has come to an evaluation."""
    lines = [
        "# Time to threshold on one GPU",
        "",
        "Made by `python -m benchmarks.gpu --part NAME`; cold and warm as its docstring says, the "
        "mean return of 100 episodes in Gymnasium on the C engine with its 95 % interval. Lines of "
        "a dry run, tiny sizes on a CPU, show that it runs; their numbers mean nothing.",
        "",
        "| part | seed | cold s | warm s | env steps | updates | best evaluation | in Gymnasium |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [json.loads(path.read_text()) for path in sorted((out / "tasks").glob("*.json"))]

    def place(row: dict[str, Any]) -> tuple[int, int, bool]:
        return PARTS.index(row["part"]), row["seed"], row.get("dry_run", False)

    for row in sorted(rows, key=place):
        lines.append(_line(row))
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    dry = " (dry run)" if row.get("dry_run") else ""
    head = f"| {row['part']}{dry} | {row['seed']} |"
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
