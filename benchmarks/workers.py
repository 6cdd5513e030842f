"""What worker processes are worth: env steps per second of a Gymnasium environment.

python -m benchmarks.workers --env CartPole-v1 --workers 4

Trains with one process and with several, in turns, and prints each block's median speed and the
ratio of the medians. Evaluations and checkpoints do not count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import closing

from pes_rl.config import Config, build_config
from pes_rl.runtime import training_math
from pes_rl.training.host import HostTrainer

_FIELDS = {"num_pairs": 64, "perturb_std": 0.3, "learning_rate": 0.03}


def speed(config: Config, seconds: float) -> float:
    """Env steps per second of live particles, once everything is compiled."""
    with training_math(), closing(HostTrainer(config)) as trainer:
        trainer.compile(lambda line: None)
        trainer.advance()
        start, before = time.perf_counter(), trainer.env_steps
        while time.perf_counter() - start < seconds:
            trainer.advance()
        return (trainer.env_steps - before) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    speeds: dict[int, list[float]] = {1: [], options.workers: []}
    for _ in range(options.blocks):
        for workers, found in speeds.items():
            config = build_config({"env": options.env, "num_threads": workers, **_FIELDS})
            found.append(speed(config, options.seconds))
    medians = {workers: statistics.median(found) for workers, found in speeds.items()}
    for workers, found in speeds.items():
        print(f"{workers} processes: median {medians[workers]:.0f} of {[round(s) for s in found]}")
    print(f"ratio {medians[options.workers] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
