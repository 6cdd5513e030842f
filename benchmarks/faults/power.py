"""The power goes: what was not synced is lost, in several combinations; then the run is resumed.

The operations of a run are recorded and made again on a model of a disk that knows of every file
and folder what is certainly on it, and what only perhaps. POSIX promises of a file what it held at
its last fsync, and of a folder the names it held at its own last fsync.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.kills import continue_and_judge, published, recorded
from benchmarks.faults.operations import Operation
from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import Tally

# What becomes of what was not synced: nothing of it is there; names are, contents are not; contents
# are, names are not; all of it is there; each by a throw of a coin.
MODELS = ("nothing", "names", "contents", "everything", "some")


@dataclass
class Node:
    """A file or a folder: as programs see it, and as it is certainly on disk."""

    folder: bool
    data: bytes = b""
    synced: bytes = b""
    names: dict[str, Node] = field(default_factory=dict)
    kept: dict[str, Node] = field(default_factory=dict)


class Disk:
    """What operations leave behind, below one folder."""

    def __init__(self, top: str):
        self.top, self.root = top, Node(True)

    def find(self, path: str) -> Node:
        node = self.root
        for part in self._parts(path):
            node = node.names[part]
        return node

    def _parts(self, path: str) -> list[str]:
        return [p for p in os.path.relpath(path, self.top).split(os.sep) if p != "."]

    def _place(self, path: str) -> tuple[Node, str]:
        *folders, name = self._parts(path)
        node = self.root
        for part in folders:
            node = node.names[part]
        return node, name

    def do(self, operation: Operation) -> None:
        """Make one operation."""
        kind, path = operation.kind, operation.path
        if kind in ("read", "failed") or operation.mode in ("read", "tmpfile"):
            return
        if kind == "fsync":
            node = self.find(path)
            node.synced, node.kept = node.data, dict(node.names)
        elif kind == "write":
            self.find(path).data += operation.data
        else:
            parent, name = self._place(path)
            if kind in ("create", "open"):
                node = parent.names.setdefault(name, Node(False))
                node.data = b"" if "w" in operation.mode else node.data
            elif kind == "mkdir":
                parent.names[name] = Node(True)
            elif kind in ("unlink", "remove", "rmdir"):
                del parent.names[name]
            else:
                target, new = self._place(operation.to)
                target.names[new] = parent.names.pop(name)

    def leave(self, place: Path, model: str, draws: random.Random) -> None:
        """Write to ``place`` what is there after the power has gone."""
        _leave(self.root, place, model, draws)


def _leave(node: Node, place: Path, model: str, draws: random.Random) -> None:
    place.mkdir(exist_ok=True)
    named = model in ("names", "everything") or (model == "some" and draws.random() < 0.5)
    for name, child in (node.names if named else node.kept).items():
        if child.folder:
            _leave(child, place / name, model, draws)
            continue
        full = model in ("contents", "everything") or (model == "some" and draws.random() < 0.5)
        data = child.data if full else child.synced
        if model == "some" and not full and draws.random() < 0.3:
            data = child.data[: draws.randrange(len(child.data) + 1)]
            data = data if data.startswith(child.synced) else child.synced
        (place / name).write_bytes(data)


def run(tally: Tally, quick: bool, root: Path) -> None:
    """The power goes after every operation of whole runs."""
    for name in ("mujoco",) if quick else ("mujoco", "gymnasium"):
        subject = make_subject(name, root)
        shutil.rmtree(root / "power", ignore_errors=True)
        (root / "power").mkdir()
        log = recorded(subject, root / "power" / "run", below=root / "power")
        assert subject.results
        seen: set[tuple] = set()
        for number, model, disk in losses(log, str(root / "power"), 37 if quick else 1):
            place = root / "lost"
            shutil.rmtree(place, ignore_errors=True)
            disk.leave(place, model, random.Random(number))
            state = tuple(
                (str(p), p.is_file() and p.read_bytes()) for p in sorted(place.rglob("*"))
            )
            least = acknowledged(log[:number])
            if (state, least) in seen:
                continue
            seen.add((state, least))
            lost = subject.fresh(place / "run" if (place / "run").exists() else None)
            case = f"{name} power lost after operation {number}, {model} of the rest kept"
            continue_and_judge(tally, subject, lost, subject.results, case, least=least)


def losses(log: list[Operation], top: str, step: int) -> Iterator[tuple[int, str, Disk]]:
    """Each moment and each model, with the disk as it was then."""
    disk = Disk(top)
    for number, operation in enumerate(log, start=1):
        disk.do(operation)
        if number % step == 0:
            for model in MODELS:
                yield number, model, disk


def acknowledged(log: list[Operation]) -> int:
    """Env steps of the newest checkpoint that the run had gone on from, taking it for saved."""
    later = [i for i, x in enumerate(log) if "/policy/" in x.path or x.path.endswith(".jsonl")]
    return published(log[: later[-1]]) if later else -1
