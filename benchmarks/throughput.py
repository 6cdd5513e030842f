"""Training speed as a share of bare physics: ``python -m benchmarks.throughput``.

Prints one JSON line per case. Training is timed in slices of a few updates, each followed by its
own yardstick: a bare ``mujoco.batch.Batch`` replaying, from the same states, with as many threads
and for live particles alone, the controls that the slice applied. A block is five such slices, so
that both sides of a ratio see the same weather on a machine whose speed drifts, and the ratio is
the median over blocks. The last line is a whole run, evaluation, checkpoints and logs included.
All are of `es-single`, but where another estimator is named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pes_rl.config import build_config
from pes_rl.envs.make import available_threads
from pes_rl.envs.mujoco_engine import MujocoSimulator, load_model
from pes_rl.envs.simulator import SingleStep, Transition
from pes_rl.envs.tasks import TASKS
from pes_rl.runs.run import train_from_config
from pes_rl.runtime import training_math
from pes_rl.storage.metrics import MetricsWriter, read_metrics
from pes_rl.training.host import HostTrainer

ONLINE: dict[str, Any] = {"estimator": "es-single"}
CASES: dict[str, dict[str, Any]] = {
    "HalfCheetah, preset of pes": {"env": "HalfCheetah", "estimator": "pes"},
    "HalfCheetah, preset": ONLINE | {"env": "HalfCheetah"},
    "Hopper, preset": ONLINE | {"env": "Hopper"},
    "Walker2d, preset": ONLINE | {"env": "Walker2d"},
    "HalfCheetah linear": ONLINE | {"env": "HalfCheetah", "num_pairs": 32},
    "HalfCheetah mlp 64x64": ONLINE | {"env": "HalfCheetah", "policy": "mlp", "num_pairs": 128},
    "HalfCheetah gru 64": ONLINE | {"env": "HalfCheetah", "policy": "gru", "num_pairs": 32},
    "Hopper linear": ONLINE | {"env": "Hopper", "num_pairs": 32},
    "Ant linear": ONLINE | {"env": "Ant", "num_pairs": 32},
    "Humanoid linear": ONLINE | {"env": "Humanoid", "num_pairs": 32},
}
SLICES = 5


class Segment(NamedTuple):
    """States before a segment, and the rows and controls of each of its env steps."""

    start: np.ndarray
    steps: list[tuple[np.ndarray, np.ndarray]]


class Recording(MujocoSimulator):
    """Keeps what is done to live particles, one env step after another."""

    def begin(self) -> None:
        self.recorded = Segment(self.batch.state, [])

    def stretch(self, rows: np.ndarray, length: int) -> SingleStep:
        return SingleStep(self, rows)

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        if not self.recorded.steps:
            self.recorded = self.recorded._replace(start=self.batch.state.copy())
        self.recorded.steps.append((rows.copy(), action.copy()))
        return super().step(rows, action)


def training_seconds(
    trainer: HostTrainer, metrics: MetricsWriter, updates: int
) -> tuple[float, int]:
    """Time of some updates with their metrics rows, and the env steps they took."""
    begin, start = trainer.env_steps, time.perf_counter()
    for _ in range(updates):
        for row in trainer.advance():
            metrics.write(row | {"wall_time_s": 0.0})
    return time.perf_counter() - start, trainer.env_steps - begin


def record(twin: HostTrainer, updates: int) -> list[Segment]:
    """Updates of a trainer whose simulator is a `Recording`."""
    crew, segments = twin.population.crew, []
    simulator: Any = crew.simulator
    for _ in range(updates):
        simulator.begin()
        twin.advance()
        segments.append(simulator.recorded)
    return segments


def bare_seconds(batch, segments: list[Segment], frame_skip: int, random: bool = False) -> float:
    """Time of stepping alone, with the recorded controls or random ones."""
    control, total = batch.bind("ctrl"), 0.0
    rng = np.random.default_rng(0)
    for state, steps in segments:
        batch.state[:] = state
        low, high = batch.model.actuator_ctrlrange.T
        plan = [
            (None if len(rows) == batch.nsim else rows, rng.uniform(low, high, a.shape), a)
            for rows, a in steps
        ]
        start = time.perf_counter()
        for ids, noise, action in plan:
            control[slice(None) if ids is None else ids] = noise if random else action
            batch.step(ids, nstep=frame_skip)
        total += time.perf_counter() - start
    return total


def measure(options: dict[str, Any], blocks: int, updates: int) -> dict[str, float]:
    """Medians over blocks of speeds [env steps/s] and of their ratios."""
    from mujoco.batch import Batch

    config = build_config(options)
    trainer, task = HostTrainer(config), TASKS[config.env]
    # The same run, bit for bit, with one thread: it says what there was to step.
    twin = HostTrainer(
        replace(config, num_threads=1), make_simulator=lambda n, _: Recording(task, n)
    )
    batch = Batch(load_model(task), config.num_particles, nthread=available_threads())
    speeds: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, MetricsWriter(Path(folder)) as metrics:
        training_seconds(trainer, metrics, 2 * updates)
        for _ in range(blocks):
            seconds, steps, bare, random = 0.0, 0, 0.0, 0.0
            for _ in range(SLICES):
                before = trainer.state()
                slice_seconds, slice_steps = training_seconds(trainer, metrics, updates)
                seconds, steps = seconds + slice_seconds, steps + slice_steps
                twin.restore(before)
                segments = record(twin, updates)
                assert twin.env_steps == trainer.env_steps
                bare += bare_seconds(batch, segments, task.frame_skip)
                random += bare_seconds(batch, segments, task.frame_skip, random=True)
            speeds.append((steps / seconds, steps / bare, steps / random))
    train, bare, random = (statistics.median(column) for column in zip(*speeds, strict=True))
    return {
        "train/env_steps_per_second": round(train),
        "bare_env_steps_per_second": round(bare),
        "random_controls_env_steps_per_second": round(random),
        "ratio": round(statistics.median(t / b for t, b, _ in speeds), 3),
    }


def measure_total(options: dict[str, Any], blocks: int, updates: int) -> dict[str, float]:
    """A whole run against bare stepping measured before and after it."""
    before = measure(options, blocks, updates)["bare_env_steps_per_second"]
    with tempfile.TemporaryDirectory() as folder:
        train_from_config(build_config(options), Path(folder) / "run", "benchmark")
        rows = read_metrics(Path(folder) / "run")
    after = measure(options, blocks, updates)["bare_env_steps_per_second"]
    # The first row holds the compilation.
    steps = rows[-1]["env_steps"] - rows[0]["env_steps"]
    total = steps / (rows[-1]["wall_time_s"] - rows[0]["wall_time_s"])
    bare = (before + after) / 2
    return {
        "total/env_steps_per_second": round(total),
        "bare_env_steps_per_second": round(bare),
        "ratio": round(total / bare, 3),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.throughput")
    parser.add_argument("--blocks", type=int, default=5, help="interleaved repetitions")
    parser.add_argument("--block-env-steps", type=int, default=50_000)
    parser.add_argument("--only", help="cases whose name contains this text")
    args = parser.parse_args(argv)
    with training_math():
        report(args)


def report(args: argparse.Namespace) -> None:
    """Measure the chosen cases and print a line for each."""
    for name, options in CASES.items():
        if args.only is None or args.only in name:
            config = build_config(options)
            per_update = config.num_particles * config.unroll_length
            updates = max(1, args.block_env_steps // (SLICES * per_update))
            result = measure(options, args.blocks, updates)
            print(json.dumps({"case": name, **options, **result}), flush=True)
    if args.only is None or args.only in "total":
        options = ONLINE | {"env": "HalfCheetah", "num_env_steps": 600_000}
        result = measure_total(options, args.blocks, 6)
        print(json.dumps({"case": "total", **options, **result}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
