"""Run training cases in a process of their own, so that one can be killed in the middle.

python -m tests.tools.resume_driver whole FOLDER STEPS CASE...     train each case without a break
python -m tests.tools.resume_driver killed FOLDER STEPS CASE       train, then SIGKILL itself
python -m tests.tools.resume_driver resumed FOLDER STEPS CASE...   continue each case

STEPS are the env steps between checkpoints.
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
    # HalfCheetah's preset of pes has the other baseline.
    valued = {"baseline": "mlp", "discount": 0.99, "trace_decay": 0.9}
    table["Hopper-value"] = base | valued | {"env": "Hopper", "estimator": "pes"}
    gru = {"estimator": "es-single", "policy": "gru", "hidden_sizes": (8,)}
    table["Hopper-gru"] = base | {"env": "Hopper"} | gru
    table["CartPole-workers"] = base | {"env": "CartPole-v1"}
    table["Reacher-gymnasium"] = base | {"env": "Reacher", "engine": "gymnasium", "horizon": 50}
    for case in table.values():
        if case.get("estimator") == "es":
            del case["segment_length"]
        if case.get("estimator") == "gpes":
            case["noise_period"] = 21
    return table


def train(folder: Path, name: str, mode: str, checkpoint_every: int) -> None:
    """Train one case: to its end; until it is killed; or on from there."""
    from pes_rl.config import build_config
    from pes_rl.runs import run

    def stop(row: dict) -> bool:
        if mode == "killed" and row["update"] == KILL_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return row["update"] == UPDATES

    if mode == "resumed":
        run.resume(folder / name, callback=stop)
        return
    fields = {"num_env_steps": 10**9, "checkpoint_every": checkpoint_every}
    run.train_from_config(
        build_config(cases()[name] | fields), folder / name, "test", callback=stop
    )


def main(mode: str, folder: Path, checkpoint_every: int, names: list[str]) -> None:
    for name in names:
        train(folder, name, mode, checkpoint_every)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
