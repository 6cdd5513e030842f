"""Every file of a run folder cut short, emptied, flipped, missing, swapped, doubled; then used."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.subjects import Ended, Subject, differing, fork, results
from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import (
    HUNG,
    LOST,
    REFUSED,
    SAID,
    SILENT,
    SURVIVED,
    TRACEBACK,
    Tally,
)
from pes_rl import cli
from pes_rl.errors import UserError

Damage = Callable[[Path], None]


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Damage files of a run that was killed in its middle, and let it be used."""
    for name in ("mujoco",) if quick else ("mujoco", "gymnasium"):
        subject = make_subject(name, root)
        other = make_subject(name, root, seed=8)
        sources = {path: other.half() for path in files(other.half())}
        draws = random.Random(1)
        assert subject.results
        for path in files(subject.half()):
            cases = list(damages(subject.half() / path, _like(path, sources), draws, quick))
            for what, damage in cases[::4] if quick else cases:
                one(tally, subject, path, what, damage)
        for what, damage in folders(subject, other):
            one(tally, subject, "checkpoints", what, damage)


def files(run: Path) -> list[str]:
    found = (p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
    return sorted(str(p.relative_to(run)) for p in found)


def _like(path: str, sources: dict[str, Path]) -> Path | None:
    """The file of the same kind in another run."""
    for other, run in sources.items():
        same_place = Path(other).parent == Path(path).parent or path.startswith("checkpoints/")
        if same_place and Path(other).name.split(".")[0] == Path(path).name.split(".")[0]:
            return run / other
    return None


def damages(
    file: Path, other: Path | None, draws: random.Random, quick: bool
) -> Iterator[tuple[str, Damage]]:
    """Ways to damage a file, each a name and what does it."""
    data = file.read_bytes()
    yield "missing", lambda p: p.unlink()
    yield "emptied", lambda p: _write(p, b"")
    yield "doubled", lambda p: _write(p, data + data)
    yield "a folder", lambda p: (p.unlink(), p.mkdir())[0]
    if other is not None:
        swapped = other.read_bytes()
        yield "swapped", lambda p: _write(p, swapped)
    cuts = {1, len(data) // 2, len(data) - 1} | {draws.randrange(len(data)) for _ in range(4)}
    for cut in sorted(cuts)[: 2 if quick else None]:
        yield f"cut to {cut}", lambda p, cut=cut: _write(p, data[:cut])
    if file.name == "config.yaml":
        yield "edited", lambda p: _write(p, data.replace(b"_rate: 0.01", b"_rate: 0.02"))
    start = draws.randrange(len(data))
    yield "zeros inside", lambda p: _write(p, data[:start] + bytes(len(data) - start))
    for _ in range(3 if quick else 36):
        bit = draws.randrange(8 * len(data))
        yield f"bit {bit} flipped", lambda p, bit=bit: _write(p, flipped(data, bit))


def folders(subject: Subject, other: Subject) -> Iterator[tuple[str, Damage]]:
    """Ways to damage all checkpoints."""

    def swap(folder: Path) -> None:
        shutil.rmtree(folder)
        shutil.copytree(other.half() / "checkpoints", folder)

    def drop_newest(folder: Path) -> None:
        shutil.rmtree(max(folder.iterdir()))

    def rename(folder: Path) -> None:
        newest = max(folder.iterdir())
        newest.rename(newest.with_name("000000000199"))

    yield "all missing", lambda p: shutil.rmtree(p)
    yield "swapped", swap
    yield "newest missing", drop_newest
    yield "newest renamed", rename


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def one(tally: Tally, subject: Subject, path: str, what: str, damage: Damage) -> None:
    """Damage a copy of the half run, resume it, and judge."""
    run, case = subject.fresh(subject.half()), f"{subject.name} {path} {what}"
    damage(run / path)
    kept = subject.fresh(run, "kept")
    before = {p: (run / p).read_bytes() for p in files(run)}
    end, detail = judge(subject, run, path, before)
    tally.add(end, case, detail, kept)


def judge(subject: Subject, run: Path, path: str, before: dict[str, bytes]) -> tuple[str, str]:
    """How the use of a damaged run ends, and what is to be known of that."""
    ended = subject.child(run) if (run / "config.yaml").is_file() else _resumed(subject, run)
    if ended.code is None:
        return HUNG, ended.said
    if ended.refused:
        changed = [p for p in before if not _intact(p, before[p], run / p)]
        return (LOST, f"changed {changed}: {ended.said}") if changed else (REFUSED, "")
    if ended.code != 0:
        return TRACEBACK, ended.said
    found = results(run)
    parts = differing(found, subject.results)
    errors = [name for name in parts if isinstance(found[name], UserError)]
    said = any("warning: " in x and _named(path, x) for x in ended.said.splitlines())
    for name in errors:
        if len(str(found[name])) > 400 or "\n" in str(found[name]):
            return SILENT, str(found[name])
    if parts == errors:
        return REFUSED if errors else SURVIVED, ""
    if said:
        return SAID, ""
    return SILENT, f"{ended.said}\nother {parts}"


def _intact(path: str, before: bytes, file: Path) -> bool:
    """Whether nothing older is lost: commands are appended, rows past a checkpoint made again."""
    if path == "versions.json":  # of the newest process
        return True
    after = file.read_bytes() if file.is_file() else b""
    if path in ("command.txt", "metrics.jsonl"):
        return after.startswith(before) or before.startswith(after)
    return after == before


def _resumed(subject: Subject, run: Path) -> Ended:
    """Resume what no longer looks like a run."""

    def work() -> int:
        subject.inherit()
        return cli.main(["train", "--resume", str(run)])

    return fork(work)


def _named(path: str, line: str) -> bool:
    return Path(path).name in line or Path(path).parts[0] in line or "config.yaml" in line
