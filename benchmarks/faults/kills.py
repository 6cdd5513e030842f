"""SIGKILL before, within and after every file operation, and chains of kills at random moments."""

from __future__ import annotations

import os
import pickle
import random
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.operations import Operation, killer, recorder, watch
from benchmarks.faults.subjects import (
    Subject,
    differing,
    fork,
    left_over,
    results,
    saved_steps,
)
from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import HUNG, LOST, REFUSED, SILENT, SURVIVED, TRACEBACK, Tally
from pes_rl import cli


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Kill whole runs, resumed ones, extended ones, and chains."""
    if quick:
        subject = make_subject("mujoco", root)
        sweep(tally, subject, None, (), step=37)
        sweep(tally, subject, subject.half(), (), step=83)
        crowd(tally, subject, 3)
        chain(tally, subject, random.Random(1))
        return
    for name, step in (("mujoco", 1), ("gymnasium", 2), ("swimmer", 2), ("brax", 5)):
        subject = make_subject(name, root)
        sweep(tally, subject, None, (), step)
        sweep(tally, subject, subject.half(), (), 2 * step)
        longer = str(subject.config.num_env_steps + 60)
        sweep(tally, subject, subject.half(), ("--num-env-steps", longer), 3 * step)
        for updates in range(1, 10, step):
            crowd(tally, subject, updates)
        for number in range(60 // step):
            chain(tally, subject, random.Random(number))


def sweep(
    tally: Tally, subject: Subject, source: Path | None, more: tuple[str, ...], step: int
) -> None:
    """Kill at every ``step``-th moment of what follows ``source``; whoever is asked again goes on.

    ``more`` are flags of the command that is killed, which are given again.
    """
    whole = subject.fresh(source, "undisturbed")
    log = recorded(subject, whole, more)
    target, at_start = results(whole), saved_steps(source) if source else -1
    for number, moment in list(moments(log))[::step]:
        case = f"{subject.name} {'resumed' if source else 'whole'} {' '.join(more)}"
        case += f" {moment} operation {number}, {log[number].kind}"
        run = subject.fresh(source)
        ended = subject.child(run, partial(watch, run, killer(number, moment)), *more)
        if ended.code != -signal.SIGKILL:
            tally.add(HUNG if ended.code is None else TRACEBACK, case, ended.said, run)
            continue
        least = max(at_start, published(log[:number]))
        continue_and_judge(tally, subject, run, target, case, more, least)


def moments(log: list[Operation]) -> Iterator[tuple[int, str]]:
    """Each operation's number with the moments at which to kill there."""
    for number, operation in enumerate(log):
        yield number, "before"
        if operation.kind == "write":
            yield number, "within"
        if operation.kind != "failed":
            yield number, "after"


def published(log: list[Operation]) -> int:
    """Env steps of the newest checkpoint that has got its name, -1 if none has."""
    names = (re.search(r"/checkpoints/(\d{12})$", x.to) for x in log if x.kind == "replace")
    return max((int(name[1]) for name in names if name), default=-1)


def continue_and_judge(
    tally: Tally,
    subject: Subject,
    run: Path,
    target: dict,
    case: str,
    more: tuple[str, ...] = (),
    least: int = -1,
) -> None:
    """Let a killed run go on to its end, where it is to be what ``target`` is.

    A checkpoint of ``least`` env steps had been saved, and the newest must not be older.
    """
    before, kept = saved_steps(run), subject.fresh(run, "kept") if run.exists() else run
    if before < least:
        tally.add(LOST, case, f"the newest checkpoint is of {before}, not {least} env steps", kept)
        return
    flags = more if (run / "config.yaml").is_file() or not more else ()
    ended = subject.child(run, None, *flags)
    if more and not flags and ended.code == 0:
        ended = subject.child(run, None, *more)
    if ended.code != 0:
        end = HUNG if ended.code is None else TRACEBACK if ended.code == 1 else LOST
        tally.add(end, case, ended.said, kept)
        return
    found, left = results(run), left_over(run)
    if parts := differing(found, target):
        tally.add(SILENT, case, f"{ended.said}\nother {parts}", kept)
    elif left:
        tally.add(LOST, case, f"left {left}", kept)
    else:
        tally.add(SURVIVED, case)


def chain(tally: Tally, subject: Subject, draws: random.Random) -> None:
    """Kill, go on, kill, go on, at random moments until the run has ended by itself."""
    run, start = subject.fresh(name="chain"), time.monotonic()
    assert subject.results
    limit, kills = 0.15, 0
    while True:
        pause = draws.uniform(0, limit)
        ended = subject.child(run, lambda pause=pause: alarm(pause))
        case = f"{subject.name} chain, kill {kills}"
        if ended.code == 0:
            break
        if ended.code != -signal.SIGKILL or time.monotonic() - start > 120:
            tally.add(HUNG if ended.code is None else TRACEBACK, case, ended.said, run)
            return
        kills += 1
        limit *= 1.1  # so that even a run that cannot get anywhere in time ends
        tally.counts[SURVIVED] += 1  # to be taken back where the end is wrong
    if parts := differing(results(run), subject.results):
        tally.counts[SURVIVED] -= kills
        tally.add(SILENT, case, f"other {parts}", run)


def crowd(tally: Tally, subject: Subject, updates: int) -> None:
    """A run that is trained is resumed by another process, which is refused."""
    run = subject.fresh()
    said = subject.root / "crowd"
    said.unlink(missing_ok=True)

    def before() -> None:
        def advance() -> object:
            if subject.trainer.updates >= updates and not said.exists():
                other = fork(lambda: cli.main(["train", "--resume", str(run)]))
                said.write_text(f"{other.code} {other.said}")
            return plain()

        plain, subject.trainer.advance = subject.trainer.advance, advance

    ended, case = subject.child(run, before), f"{subject.name} resumed in update {updates}"
    other = said.read_text() if said.exists() else ""
    if not (other.startswith("2 ") and "already in use" in other):
        tally.add(SILENT, case, f"the second process: {other}", run)
    elif ended.code != 0 or (parts := differing(results(run), subject.results)):
        tally.add(LOST, case, f"{ended} other {parts if ended.code == 0 else 'end'}", run)
    else:
        tally.add(REFUSED, case)


def alarm(seconds: float) -> None:
    """Die by SIGKILL after so long, wherever that is."""
    parent = os.getpid()
    if os.fork() == 0:
        time.sleep(seconds)
        os.kill(parent, signal.SIGKILL)
        os._exit(0)


def recorded(
    subject: Subject, run: Path, more: tuple[str, ...] = (), below: Path | None = None
) -> list[Operation]:
    """All operations, in the run or ``below`` another folder, of what follows ``run``."""
    log = subject.root / "operations"

    def before() -> None:
        operations: list[Operation] = []
        watch(below or run, recorder(operations))
        leave = os._exit

        def end(code: int) -> None:
            log.write_bytes(pickle.dumps(operations))
            leave(code)

        last: Any = end
        os._exit = last

    ended = subject.child(run, before, *more)
    assert ended.code == 0, ended.said
    return pickle.loads(log.read_bytes())
