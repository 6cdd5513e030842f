"""Run training cases in a process of their own, so that one can be killed in the middle.

python -m tests.tools.resume_driver whole FOLDER CASE...     train each case without a break
python -m tests.tools.resume_driver killed FOLDER CASE       train, save, go on, SIGKILL itself
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


def train(folder: Path, name: str, mode: str) -> None:
    """Train one case: to its end; to a save and on until it is killed; or on from there."""
    from pes_rl.config import build_config
    from pes_rl.runs import run

    config = build_config(cases()[name] | {"num_env_steps": 10**9, "checkpoint_every": 10**9})

    def stop_after(updates: int):
        return lambda row: row["update"] == updates

    def kill(row: dict) -> None:
        if row["update"] == KILL_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    if mode == "resumed":
        run.resume(folder / name, callback=stop_after(UPDATES))
        return
    last = CHECKPOINT_AFTER if mode == "killed" else UPDATES
    run.train_from_config(config, folder / name, "test", callback=stop_after(last))
    if mode == "killed":
        run.resume(folder / name, callback=kill)


def main(mode: str, folder: Path, names: list[str]) -> None:
    for name in names:
        train(folder, name, mode)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
