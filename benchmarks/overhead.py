"""What training adds to the physics: ``python -m benchmarks.overhead``.

Prints one JSON line per case: env steps per second of the fused update, those of a bare scan over
the vmapped ``env.step`` of the same environment, population and segment length, and their ratio.
Both run in one process, in turns, each timed ``--repeats`` times after a warm-up; the ratio is the
median of the turns' ratios. On a CPU the case is brax's halfcheetah with 256 pairs and a linear
policy, on a GPU 4096 pairs with a linear policy and with an MLP.

``--lanes`` measures evaluation lanes instead, with 1024 pairs: updates with 16 of them and without
any, in turns that begin with the one and with the other; the ratio of their times is the median of
the turns' ratios with its 95 % interval. Beside wall time stands the process's CPU time, which says
more where other programs run too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.comparison.statistics import estimate, median
from pes_rl.config import build_config
from pes_rl.runtime import one_xla_thread
from pes_rl.training.device import DeviceTrainer

TASK = {"env": "brax/halfcheetah", "backend": "spring", "segment_length": 50}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "cpu": {"linear": {"num_pairs": 256}},
    "gpu": {
        "linear": {"num_pairs": 4096},
        "mlp 64x64": {"num_pairs": 4096, "policy": "mlp"},
    },
}
LANES = (0, 16)


def make_bare(trainer: DeviceTrainer) -> Callable[[], None]:
    """One segment of stepping and nothing else, from the trainer's states with random actions."""
    environment, config = trainer.environment, trainer.config
    count = config.num_particles
    low, high = jnp.array(environment.action.low), jnp.array(environment.action.high)
    actions = jax.random.uniform(
        jax.random.key(1), (count, environment.action.size), minval=low, maxval=high
    )
    start = jax.tree.map(
        lambda x: jnp.array(x).reshape(count, *x.shape[2:]),
        trainer.device_state.population.environment,
    )

    def segment(state: Any, actions: jax.Array) -> Any:
        def body(state, _):
            # The reward is used, or the compiler would leave it out.
            state, out = jax.vmap(environment.step)(state, actions)
            return state, out.reward.sum()

        with jax.default_matmul_precision("highest"):
            return jax.lax.scan(body, state, length=config.unroll_length)

    run = jax.jit(segment, donate_argnums=0).lower(start, actions).compile()
    carried = [start]

    def once() -> None:
        carried[0], rewards = run(carried[0], actions)
        jax.block_until_ready(rewards)

    return once


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, fields: dict[str, Any], repeats: int) -> dict[str, Any]:
    """One case."""
    # One update per advance, so that both sides of a turn take equally long.
    config = build_config({**TASK, **fields, "eval_every": 1})
    trainer = DeviceTrainer(config)
    trainer.advance()
    bare = make_bare(trainer)
    bare()
    turns = [(seconds(trainer.advance), seconds(bare)) for _ in range(repeats)]
    steps = config.num_particles * config.unroll_length
    fused, alone = (statistics.median(times) for times in zip(*turns, strict=True))
    return {
        "case": f"{config.env} {config.backend}, {config.num_pairs} pairs, {name}",
        "device": jax.devices()[0].device_kind,
        "training_env_steps_per_second": round(steps / fused),
        "bare_env_steps_per_second": round(steps / alone),
        "ratio": round(statistics.median(b / f for f, b in turns), 4),
    }


class Times(NamedTuple):
    """Seconds of an update."""

    wall: float
    cpu: float


def times(work: Callable[[], Any]) -> Times:
    """What one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def lanes(fields: dict[str, Any], repeats: int) -> dict[str, Any]:
    """What `LANES` evaluation lanes add to an update."""
    configs = [build_config({**TASK, **fields, "eval_every": 1, "eval_lanes": n}) for n in LANES]
    trainers = [DeviceTrainer(config) for config in configs]
    taken: list[list[Times]] = [[], []]
    for turn in range(-1, repeats):  # the first one warms up
        for i in (0, 1) if turn % 2 else (1, 0):
            found = times(trainers[i].advance)
            if turn >= 0:
                taken[i].append(found)
    without, beside = np.array(taken)
    ratios = beside / without  # [turns, wall and CPU]
    row: dict[str, Any] = {
        "case": f"{configs[0].env} {configs[0].backend}, {configs[0].num_pairs} pairs, "
        f"{LANES[1]} lanes",
        "device": jax.devices()[0].device_kind,
        "turns": repeats,
    }
    for i, name in enumerate(Times._fields):
        row[f"{name}_seconds_without"] = round(float(np.median(without[:, i])), 4)
        row[f"{name}_ratio"] = [round(x, 4) for x in estimate(median, ratios[:, i, None])]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="turns per case")
    parser.add_argument("--num-pairs", type=int, help="instead of the case's own")
    parser.add_argument("--lanes", action="store_true", help="what evaluation lanes add")
    options = parser.parse_args()
    one_xla_thread()
    if options.lanes:
        print(json.dumps(lanes({"num_pairs": options.num_pairs or 1024}, options.repeats)))
        return
    cases = CASES["cpu" if jax.default_backend() == "cpu" else "gpu"]
    for name, fields in cases.items():
        if options.num_pairs:
            fields = {**fields, "num_pairs": options.num_pairs}
        print(json.dumps(measure(name, fields, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
