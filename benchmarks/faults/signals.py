"""Signals of many kinds in every phase of a run: the right exit code, and a run that goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import continue_and_judge
from benchmarks.faults.operations import Operation, watch
from benchmarks.faults.subjects import Subject, differing, results, saved_steps
from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import HUNG, LOST, SILENT, SURVIVED, TRACEBACK, Tally
from pes_rl.errors import UserError
from pes_rl.storage.metrics import read_metrics

ASK = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ENDING = ("QUIT", "USR1", "USR2", "ALRM", "XCPU", "VTALRM", "PROF", "ABRT", "IO")
IGNORED = ("PIPE", "CHLD", "WINCH", "CONT", "URG", "XFSZ")
PHASES = ("start", "compile", "advance", "evaluate", "state", "save", "policy", "conclude")


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Every signal in every phase, of the first and of the second half of a run."""
    subject = make_subject("mujoco", root)
    names = [s.name[3:] for s in ASK] + list(ENDING + IGNORED)
    for name in ("INT", "TERM", "USR1", "PIPE") if quick else names:
        for phase in PHASES[2::2] if quick else PHASES:
            for visit in (2,) if quick else (1, 2, 3):
                one(tally, subject, name, phase, visit)
                if name in ("INT", "TERM", "HUP") and not quick:
                    one(tally, subject, name, phase, visit, twice=True)


def one(
    tally: Tally, subject: Subject, name: str, phase: str, visit: int, twice: bool = False
) -> None:
    """A signal at the so-maniest time that a run is in a phase, or two signals."""
    number, run = signal.Signals[f"SIG{name}"], subject.fresh()
    sent = subject.root / "sent"
    sent.unlink(missing_ok=True)

    def send() -> None:
        sent.touch()
        for _ in range(2 if twice else 1):
            os.kill(os.getpid(), number)

    ended = subject.child(run, lambda: _arm(subject, run, phase, visit, send))
    case = f"SIG{name}{' twice' if twice else ''}, {phase} {visit}"
    if not sent.exists():
        return  # the phase is not entered so often
    wanted = {0} if name in IGNORED else {ASK.get(number, -number)}
    if phase == "conclude":
        wanted |= {0}  # the run is over before anybody looks again
    if ended.code not in wanted or "Traceback" in ended.said:
        tally.add(HUNG if ended.code is None else TRACEBACK, case, f"{ended}", run)
    elif ended.code == 0:
        parts = differing(results(run), subject.results)
        tally.add(SILENT if parts else SURVIVED, case, f"other {parts}", run)
    elif number in ASK and not twice and run.exists() and saved_steps(run) < _trained(run):
        tally.add(LOST, case, f"{saved_steps(run)} of {_trained(run)} env steps saved", run)
    else:
        continue_and_judge(tally, subject, run, subject.results, case)


def _trained(run: Path) -> int:
    with contextlib.suppress(UserError):
        return max((row["env_steps"] for row in read_metrics(run)), default=-1)
    return -1


def _arm(subject: Subject, run: Path, phase: str, visit: int, send: Callable[[], None]) -> None:
    """Call ``send`` at the so-maniest visit of a phase."""
    visits = [0]

    def count() -> None:
        visits[0] += 1
        if visits[0] == visit:
            send()

    def before(place: Any, name: str) -> None:
        plain = getattr(place, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            count()
            return plain(*arguments, **options)

        setattr(place, name, counted)

    def around(operation: Operation, real: Callable[[], Any]) -> Any:
        part = "/checkpoints" if phase == "save" else "/policy/"
        if operation.kind == "fsync" and part in operation.path:
            count()
        return real()

    if phase == "start":
        before(sys.modules["pes_rl.runs.run"], "create_run")
    elif phase == "conclude":
        before(sys.modules["pes_rl.runs.recorder"].Recorder, "conclude")
    elif phase in ("save", "policy"):
        watch(run, around)
    else:
        before(subject.trainer, phase)
