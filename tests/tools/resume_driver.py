"""Run training cases in a process of their own, so that one can be killed in the middle.

python -m tests.tools.resume_driver whole FOLDER CASE...     train each case without a break
python -m tests.tools.resume_driver killed FOLDER CASE       train, then SIGKILL itself
python -m tests.tools.resume_driver resumed FOLDER CASE...   continue each case
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

KILL_AFTER, CHECKPOINT_AFTER, UPDATES = 25, 20, 40


def cases() -> dict[str, dict]:
    """Configurations by name; short horizons, so that episodes end and restart many times."""
    base = {
        "num_pairs": 3,
        "segment_length": 7,
        "horizon": 60,
        "eval_every": 1500,
        "eval_episodes": 2,
        "num_threads": 2,
        "perturb_std": 0.05,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "shaping": "running-std",
    }
    table: dict[str, dict] = {}
    for env in ("HalfCheetah", "Hopper"):
        for estimator in ("es", "truncated-es", "pes", "es-single", "gpes"):
            table[f"{env}-{estimator}"] = base | {"env": env, "estimator": estimator}
    for env in ("Ant", "InvertedDoublePendulum"):
        for estimator in ("pes", "es-single"):
            table[f"{env}-{estimator}"] = base | {"env": env, "estimator": estimator}
    table["Hopper-gru"] = base | {"env": "Hopper", "policy": "gru", "hidden_sizes": (8,)}
    table["CartPole-gymnasium"] = base | {"env": "CartPole-v1", "engine": "gymnasium"}
    for case in table.values():
        if case.get("estimator") == "es":
            del case["segment_length"]
        if case.get("estimator") == "gpes":
            case["noise_period"] = 21
    return table


def train(folder: Path, name: str, updates: int, kill_after: int | None) -> None:
    """Train one case for a number of updates, saving at CHECKPOINT_AFTER."""
    from pes_rl.config import build_config
    from pes_rl.runs import run
    from pes_rl.training.host import Trainer

    config = build_config(cases()[name] | {"num_env_steps": 10**9, "checkpoint_every": 10**9})
    plain_update = Trainer.update

    def update(trainer: Trainer) -> dict[str, float]:
        if kill_after is not None and trainer.updates == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        row = plain_update(trainer)
        limit = 0 if trainer.updates == updates else 10**9
        every = 1 if trainer.updates == CHECKPOINT_AFTER else 10**9
        changes = {"num_env_steps": limit, "checkpoint_every": every}
        for field, value in changes.items():
            object.__setattr__(trainer.config, field, value)
        return row

    Trainer.update = update
    try:
        if (folder / name / "config.yaml").exists():
            run.resume(folder / name)
        else:
            run.train_from_config(config, folder / name, "test")
    finally:
        Trainer.update = plain_update


def main(mode: str, folder: Path, names: list[str]) -> None:
    for name in names:
        train(folder, name, UPDATES, KILL_AFTER if mode == "killed" else None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
