"""Run training cases in a process of their own, so that it can be killed in the middle.

python -m tests.tools.resume_driver whole FOLDER CASE...          train each case without a break
python -m tests.tools.resume_driver killed FOLDER CASE=STEPS...   leave each of them unfinished
python -m tests.tools.resume_driver resumed FOLDER CASE...        continue each case

STEPS are the env steps between checkpoints. What is left unfinished saves nothing on its way out;
the last case takes its process along.
"""

from __future__ import annotations

import contextlib
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
    for estimator in ("es", "truncated-es", "pes", "es-single", "gpes"):
        table[f"Hopper-{estimator}"] = base | {"env": "Hopper", "estimator": estimator}
    for env in ("HalfCheetah", "Ant", "InvertedDoublePendulum"):
        table[f"{env}-pes"] = base | {"env": env, "estimator": "pes"}
    table["CartPole-workers"] = base | {"env": "CartPole-v1"}
    table["Reacher-gymnasium"] = base | {"env": "Reacher", "engine": "gymnasium", "horizon": 50}
    # HalfCheetah's preset of pes has the other baseline.
    valued = {
        "baseline": "mlp",
        "discount": 0.99,
        "trace_decay": 0.9,
        "perturb_std_decay_steps": 999,
    }
    table["Hopper-value"] = base | valued | {"env": "Hopper", "estimator": "pes"}
    gru = {"estimator": "es-single", "policy": "gru", "hidden_sizes": (8,)}
    table["Hopper-gru"] = base | {"env": "Hopper"} | gru
    for case in table.values():
        if case.get("estimator") == "es":
            del case["segment_length"]
        if case.get("estimator") == "gpes":
            case["noise_period"] = 21
    return table


class Unfinished(BaseException):  # after an Exception a run would save first
    """A case is left where it is."""


def train(folder: Path, name: str, mode: str, checkpoint_every: int, last: bool) -> None:
    """Train one case: to its end; until it is left unfinished; or on from there."""
    from pes_rl.config import build_config
    from pes_rl.runs import run

    def stop(row: dict) -> bool:
        if mode == "killed" and row["update"] == KILL_AFTER:
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Unfinished
        return row["update"] == UPDATES

    if mode == "resumed":
        run.resume(folder / name, callback=stop)
        return
    fields = {"num_env_steps": 10**9, "checkpoint_every": checkpoint_every, "log_every": 1}
    config = build_config(cases()[name] | fields)
    with contextlib.suppress(Unfinished):
        run.train_from_config(config, folder / name, "test", callback=stop)


def main(mode: str, folder: Path, words: list[str]) -> None:
    for number, word in enumerate(words, start=1):
        name, _, steps = word.partition("=")
        train(folder, name, mode, int(steps or 10**9), number == len(words))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
