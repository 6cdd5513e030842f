"""A training loop of one's own, with the package's parts: python examples/train_own_loop.py

Trains HalfCheetah with ES-Single on MuJoCo's C engine, without a run folder, and saves the policy
that evaluated best. `pes-rl train` does the same with metrics, checkpoints and a progress bar.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pes_rl.config import build_config
from pes_rl.runs.loop import schedule
from pes_rl.runtime import training_math
from pes_rl.storage.policy import save_policy
from pes_rl.training.make import make_trainer


def main(num_env_steps: str = "3e5", folder: str = "runs/own-loop") -> None:
    """Train for so many env steps; the best policy goes to ``folder``."""
    # Everything not said here comes from the task's preset in configs/.
    config = build_config(
        {"env": "HalfCheetah", "estimator": "es-single", "num_env_steps": num_env_steps}
    )
    best = float("-inf")
    with training_math():
        trainer = make_trainer(config)
        # One turn is one segment of every pair, and one step of the optimiser.
        for due in schedule(trainer):
            row = due.rows[-1]
            if not due.evaluate:
                continue
            returns = trainer.evaluate().returns
            print(f"{row['env_steps']:>9,} env steps: return {returns.mean():.0f}", flush=True)
            if returns.mean() > best:
                best = float(returns.mean())
                save_policy(
                    Path(folder),
                    trainer.policy,
                    trainer.theta,
                    trainer.normalizer,
                    trainer.action,
                    {"name": "HalfCheetah", "gymnasium_id": "HalfCheetah-v5", "horizon": 1000},
                    {"env_steps": trainer.env_steps, "episode_return": best},
                )
    print(f"best {best:.0f}; pes-rl evaluate {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
