"""A long run, resumed many times in one process: what it holds of the machine stays the same."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

from benchmarks.faults.subjects import fork, left_over, results
from benchmarks.faults.tally import LOST, SILENT, SURVIVED, Tally, say
from pes_rl.config import build_config
from pes_rl.runs.run import resume, train_from_config

# What may be added between the first third and the end, for each part that is resumed.
MEMORY, DESCRIPTORS = 2.0, 0  # MiB, files


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Train in parts, all in one child, and measure after each."""
    parts, updates = (6, 10) if quick else (24, 500)
    log = root / "soak"
    ended = fork(lambda: _parts(root / "run", parts, updates, log), seconds=1500)
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    if ended.code != 0 or len(lines) != parts:
        tally.add(LOST, "soak", f"{ended}")
        return
    memory = [float(line[0]) for line in lines]
    descriptors = [int(line[1]) for line in lines]
    disk = [int(line[2]) for line in lines]
    third = parts // 3
    growth = (memory[-1] - memory[third]) / (parts - 1 - third)
    tally.facts |= {
        "updates": parts * updates,
        "resumed": parts - 1,
        "memory": [memory[0], memory[third], memory[-1]],
        "memory a part": round(growth, 3),
        "descriptors": [descriptors[0], descriptors[-1]],
        "files": [disk[0], disk[-1]],
    }
    checks = {
        "memory": growth <= MEMORY,
        "descriptors": descriptors[-1] - descriptors[third] <= DESCRIPTORS,
        "files": disk[-1] - disk[third] == parts - 1 - third,  # one file of events a part
    }
    for what, sound in checks.items():
        tally.add(SURVIVED if sound else LOST, what, f"{tally.facts}")
    say(f"soak: {tally.facts}")
    whole = root / "whole"
    fork(lambda: _parts(whole, 1, parts * updates, root / "one"), seconds=1500)
    same = results(whole)["last"] == results(root / "run")["last"]
    tally.add(SURVIVED if same else SILENT, "the same as without a break")
    tally.add(LOST if left_over(root / "run") else SURVIVED, "nothing left over")


def _parts(run: Path, parts: int, updates: int, log: Path) -> int:
    config = build_config(
        {
            "env": "InvertedPendulum",
            "policy": "linear",
            "num_pairs": 2,
            "horizon": 20,
            "segment_length": 5,
            "num_env_steps": 10**9,
            "eval_every": 1000,
            "eval_episodes": 1,
            "checkpoint_every": 2000,
            "num_threads": 1,
        }
    )
    for part in range(1, parts + 1):

        def stop(row: dict, last: int = part * updates) -> bool:
            return row["update"] == last

        if part == 1:
            train_from_config(config, run, "soak", callback=stop)
        else:
            resume(run, callback=stop)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * resource.getpagesize() / 2**20
        files = sum(path.is_file() for path in run.rglob("*"))
        with log.open("a") as file:
            file.write(f"{memory:.1f} {len(os.listdir('/proc/self/fd'))} {files}\n")
    return 0
