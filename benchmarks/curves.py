"""Evaluation curves of many configurations, several at once, in processes of one thread each.

Results go to a JSON-lines file, one line per finished run, so a job that was interrupted goes on
where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

Options = dict[str, Any]


def train_curve(options: Options) -> dict[str, Any]:
    """Train one configuration in memory; its evaluations as [env_steps, mean return] pairs."""
    from pes_rl.config import build_config
    from pes_rl.runs.loop import schedule
    from pes_rl.runtime import training_math
    from pes_rl.training.host import HostTrainer

    config = build_config({"num_threads": 1, **options})
    start, curve = time.perf_counter(), []
    with training_math():
        trainer = HostTrainer(config)

        def score() -> None:
            mean = float(trainer.evaluate().returns.mean())
            curve.append([trainer.env_steps, round(mean, 2)])

        score()
        for due in schedule(trainer):
            if due.evaluate:
                score()
    seconds = round(time.perf_counter() - start, 1)
    return {"options": options, "curve": curve, "updates": trainer.updates, "seconds": seconds}


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes to hand to `train_curves`."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def train_curves(
    jobs: Iterable[Options], results: Path, pool: ProcessPoolExecutor
) -> list[dict[str, Any]]:
    """Results of all jobs, in their order; those already in the file are not run again."""
    jobs = list(jobs)
    done = {_key(r["options"]): r for r in read_results(results)}
    waiting = [job for job in jobs if _key(job) not in done]
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        for future in as_completed([pool.submit(train_curve, job) for job in waiting]):
            result = future.result()
            done[_key(result["options"])] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(summary_line(result), flush=True)
    return [done[_key(job)] for job in jobs]


def read_results(path: Path) -> list[dict[str, Any]]:
    """Finished runs recorded in a results file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary_line(result: dict[str, Any]) -> str:
    """One line on a finished run."""
    returns = [value for _, value in result["curve"]]
    text = " ".join(f"{k}={v}" for k, v in result["options"].items())
    return f"{text}: best {max(returns):.0f}, last {returns[-1]:.0f}, {result['seconds']:.0f} s"


def _key(options: Options) -> str:
    return json.dumps(options, sort_keys=True)
