"""Disks that fill up, fail, or go away, and too few descriptors: errors of every file operation."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.kills import continue_and_judge, published, recorded
from benchmarks.faults.operations import Operation, failer, watch
from benchmarks.faults.subjects import Ended, Subject, differing, results
from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import HUNG, LOST, REFUSED, SILENT, SURVIVED, TRACEBACK, Tally

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE)


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Every operation fails, once and from then on; then real disks and limits."""
    subject = make_subject("mujoco", root)
    log = recorded(subject, subject.fresh())
    for code in ERRORS[:1] if quick else ERRORS:
        for forever in (False, True):
            for number in range(0, len(log), 43 if quick else 3 if code == errno.EIO else 17):
                failing(tally, subject, log, number, code, forever)
    if quick:
        limited(tally, subject, resource.RLIMIT_FSIZE, "file size", 2000)
        return
    for size in range(500, 12_000, 500):
        limited(tally, subject, resource.RLIMIT_FSIZE, "file size", size)
    opened = max(map(int, os.listdir("/proc/self/fd")))
    for number in range(opened - 4, opened + 16):
        limited(tally, subject, resource.RLIMIT_NOFILE, "descriptors", number)
    disks(tally, subject)
    removed(tally, subject)


def failing(
    tally: Tally,
    subject: Subject,
    log: list[Operation],
    number: int,
    code: int,
    forever: bool,
) -> None:
    run = subject.fresh()
    ended = subject.child(run, lambda: watch(run, failer(number, code, forever)))
    case = f"{errno.errorcode[code]} at operation {number} ({log[number].kind})"
    case += " and ever after" if forever else ""
    judge(tally, subject, run, ended, case, published(log[:number]))


def judge(
    tally: Tally, subject: Subject, run: Path, ended: Ended, case: str, least: int = -1
) -> None:
    """A run that met an error has ended well, or is refused and goes on once the error is gone."""
    if ended.code == 0:
        parts = differing(results(run), subject.results)
        tally.add(SILENT if parts else SURVIVED, case, f"{ended.said}\nother {parts}", run)
        return
    if not ended.refused:
        tally.add(HUNG if ended.code is None else TRACEBACK, case, f"{ended}", run)
        return
    inner = Tally(tally.name, tally.out)
    continue_and_judge(inner, subject, run, subject.results, case, least=least)
    if inner.counts[SURVIVED]:
        tally.add(REFUSED, case)
    else:
        tally.failures += inner.failures
        tally.counts += inner.counts


def limited(tally: Tally, subject: Subject, kind: int, name: str, limit: int) -> None:
    """A limit of the operating system on files."""
    run = subject.fresh()

    def before() -> None:
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))

    judge(tally, subject, run, subject.child(run, before), f"{name} at most {limit}")


def disks(tally: Tally, subject: Subject) -> None:
    """Real file systems, small, without inodes, or read-only; needs root."""
    place = subject.root / "disk"
    place.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)) != 0:
        tally.facts["not tried"] = "real disks: nothing could be mounted"
        return
    try:
        for size in range(4, 120, 8):
            on_disk(tally, subject, place, f"size={size}k", "size=1m")
        for inodes in range(2, 40, 4):
            on_disk(tally, subject, place, f"size=1m,nr_inodes={inodes}", "nr_inodes=10000")
        run = place / "run"
        subject.child(run)
        shutil.rmtree(run)
        shutil.copytree(subject.half(), run)
        _mount("-o", "remount,ro", str(place))
        ended = subject.child(run)
        _mount("-o", "remount,rw", str(place))
        judge(tally, subject, run, ended, "a read-only disk")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def on_disk(tally: Tally, subject: Subject, place: Path, options: str, more: str) -> None:
    for path in place.iterdir():
        shutil.rmtree(path)
    if _mount("-o", f"remount,{options}", str(place)) != 0:
        return
    ended = subject.child(place / "run")
    _mount("-o", f"remount,{more}", str(place))
    judge(tally, subject, place / "run", ended, f"a disk of {options}")


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode


def removed(tally: Tally, subject: Subject) -> None:
    """The folder goes, or another takes its place, between two updates."""

    def away(run: Path) -> None:
        shutil.rmtree(run)

    def moved(run: Path) -> None:
        run.rename(run.with_name("moved"))

    def replaced(run: Path) -> None:
        moved(run)
        shutil.copytree(subject.half(), run)

    def no_checkpoints(run: Path) -> None:
        shutil.rmtree(run / "checkpoints")

    def no_policies(run: Path) -> None:
        shutil.rmtree(run / "policy")

    for change in (away, moved, replaced, no_checkpoints, no_policies):
        for updates in (1, 5, 9):
            _change(tally, subject, change, updates)


def _change(tally: Tally, subject: Subject, change: Callable[[Path], None], updates: int) -> None:
    run = subject.fresh()
    shutil.rmtree(run.with_name("moved"), ignore_errors=True)

    def before() -> None:
        def advance() -> object:
            if subject.trainer.updates == updates:
                change(run)
            return plain()

        plain, subject.trainer.advance = subject.trainer.advance, advance

    ended, case = subject.child(run, before), f"{change.__name__} after update {updates}"
    elsewhere = run.with_name("moved")
    if ended.code == 0:
        parts = [x for x in differing(results(run), subject.results) if x != "best"]
        tally.add(SILENT if parts else SURVIVED, case, f"{ended.said}\nother {parts}", run)
    elif not ended.refused:
        tally.add(HUNG if ended.code is None else TRACEBACK, case, ended.said, run)
    elif elsewhere.exists():
        again = subject.child(elsewhere)
        same = again.code == 0 and not differing(results(elsewhere), subject.results)
        tally.add(REFUSED if same else LOST, case, again.said, elsewhere)
    else:
        tally.add(REFUSED, case)
