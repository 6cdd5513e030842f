"""Two processes of one run, one of them killed; then it goes on with two, or with one.

How processes that were started differently, that stop, or that are strangers are told apart belongs
to `pes_rl.training` and its tests; add such cases to `run` as functions of a ``Pair``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.faults.subjects import differing, results, saved_steps
from benchmarks.faults.tally import HUNG, LOST, SAID, SILENT, SURVIVED, TRACEBACK, Tally

_FLAGS = (
    "--env InvertedPendulum --policy linear --num-pairs 4 --segment-length 5 --horizon 20 "
    "--eval-every 4000 --eval-episodes 1 --checkpoint-every 100 --num-threads 1 "
    "--num-env-steps 12000 --seed 7"
)
_PATIENCE = 150  # seconds


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Kill each process, early and later."""
    whole = root / "whole"
    assert finish(start(whole, 2)) == [0, 0], _said(whole)
    target = results(whole)
    for victim, rows in ((0, 1), (1, 40)) if quick else ((0, 1), (1, 1), (0, 60), (1, 60)):
        case = f"process {victim} killed after {rows} rows"
        place = root / "run"
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(root / "alone", ignore_errors=True)
        pair = start(place, 2)
        _until(place, rows)
        pair[victim].kill()
        codes = finish(pair)
        if None in codes:
            tally.add(HUNG, case, _said(place), place)
            continue
        if saved_steps(place) < 0:
            tally.add(LOST, case, _said(place), place)
            continue
        shutil.copytree(place, root / "alone")
        for folder, size in ((place, 2), (root / "alone", 1)):
            ended = finish(start(folder, size))
            judge(tally, folder, size, ended, target, case)


def judge(
    tally: Tally, run: Path, size: int, codes: list[int | None], target: dict, case: str
) -> None:
    """The same count goes on bit for bit; another one goes on, and says that it is not the same."""
    case, said = f"{case}, then {size}", _said(run)
    parts = differing(results(run), target)
    if any(codes):
        tally.add(HUNG if None in codes else TRACEBACK, case, said, run)
    elif not parts:
        tally.add(SURVIVED, case)
    elif size == 1 and "not bit for bit" in said:
        tally.add(SAID, case)
    else:
        tally.add(SILENT, case, f"other {parts}: {said}", run)


def start(run: Path, size: int) -> list[subprocess.Popen]:
    """Start a run or continue it, in so many processes."""
    known = (run / "config.yaml").is_file()
    words = ["train", "--resume", str(run)] if known else ["train", *_FLAGS.split()]
    words += [] if known else ["--run-dir", str(run)]
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for index in range(size):
        place = f"--coordinator 127.0.0.1:{port} --num-processes {size} --process-id {index}"
        log = run.with_name(f"{run.name}.log{index}")
        with log.open("w") as file:
            command = [sys.executable, "-m", "pes_rl", *words, *(place.split() if size > 1 else [])]
            environment = os.environ | {"JAX_PLATFORMS": "cpu"}
            started.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
    return started


def finish(started: list[subprocess.Popen]) -> list[int | None]:
    """Exit codes, None for what had to be killed."""
    codes: list[int | None] = []
    end = time.monotonic() + _PATIENCE
    for process in started:
        try:
            codes.append(process.wait(max(end - time.monotonic(), 0.1)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            codes.append(None)
    return codes


def _until(run: Path, rows: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if (run / "metrics.jsonl").read_bytes().count(b"\n") >= rows:
                return
        time.sleep(0.01)


def _said(run: Path) -> str:
    return "\n".join(p.read_text() for p in sorted(run.parent.glob(f"{run.name}.log*")))
