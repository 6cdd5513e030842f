"""metrics.jsonl, one row per update that is kept, and TensorBoard events with the same scalars.

Keys are the public ones: ``env_steps``, ``update``, ``wall_time_s`` in every row, the others
(``eval/...``, ``train/...``, ``total/...``) where they apply. Beside the scalars TensorBoard gets
the configuration, for the table of its HPARAMS tab, and ``best/episode_return``, the highest
evaluation so far, since that table shows the newest value of every scalar.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pes_rl.console import warn
from pes_rl.errors import UserError
from pes_rl.storage.files import plain, write_bytes_atomic
from pes_rl.storage.run_folder import METRICS

EVALUATED = "eval/episode_return"
LANES_SCORED = "eval_lanes/episode_return"
_REQUIRED = ("env_steps", "update", "wall_time_s")


class Written(NamedTuple):
    """How far metrics.jsonl had been written when a checkpoint was: what a resumed run keeps.

    Attributes:
      update: the checkpoint's; the newest row is of this one or an earlier one.
      size: bytes.
      sha256: of these bytes; None where an older checkpoint does not say.
    """

    update: int
    size: int = 0
    sha256: str | None = None


class MetricsWriter:
    """Appends rows to ``run_dir/metrics.jsonl`` and to a TensorBoard event file beside it.

    With ``resumed`` what was written later, whole or torn by a crash, is first cut off, and
    TensorBoard is told to forget it; rows that were lost or altered since are warned about.
    ``hyperparameters`` (scalars, tuples, None where unset) go to TensorBoard. A row reaches the
    operating system at once; ``sync`` before a checkpoint puts it on disk. Use as a context
    manager, or call ``close``.
    Raises UserError when the folder cannot be written or a row that is kept is damaged.
    """

    def __init__(
        self,
        run_dir: Path,
        resumed: Written | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        path = Path(run_dir) / METRICS
        try:
            kept = None if resumed is None else _cut_back(path, resumed)
            before = kept.data if kept else b""
            self._size, self._digest = len(before), hashlib.sha256(before)
            self._events = _Events(Path(run_dir), kept, hyperparameters or {})
            self._file = path.open("ab")
            self._lacking = False
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row; NaN and infinity become null. ``update`` must grow from row to row."""
        missing = [key for key in _REQUIRED if key not in row]
        if missing:
            raise ValueError(f"a metrics row needs {missing}")
        clean = plain(row)
        try:
            line = json.dumps(clean, allow_nan=False).encode() + b"\n"
            self._file.write(line)
            self._file.flush()
            self._size += len(line)
            self._digest.update(line)
            self._events.add(clean)
        except OSError as error:
            self._lacking = True
            raise UserError(f"cannot write {self._file.name}: {error.strerror}") from error

    def written(self, update: int) -> Written:
        """How far the file has been written, for a checkpoint of ``update``."""
        return Written(update, self._size, self._digest.hexdigest())

    def sync(self) -> None:
        """Put every row on disk: call it before a checkpoint, which must not outlive its row.

        Raises UserError once a row could not be written, whatever became of the disk since.
        """
        if self._lacking:
            raise UserError(f"{self._file.name} lacks a row; resume the run, which makes it again")
        try:
            self._events.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self._file.name}: {error.strerror}") from error

    def close(self) -> None:
        """Close both files; more than once does no harm."""
        # Rows have been flushed one by one, so a disk that refuses has been reported already.
        with contextlib.suppress(OSError):
            self._events.close()
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Events:
    """One TensorBoard event per row.

    tensorboardX's SummaryWriter spends 1.6 ms on a row of twelve scalars; the event file underneath
    takes all of them in one event for a twentieth of that. What has not filled the file's buffer
    (some twenty rows) reaches it at ``flush``, which waits for the disk.

    The file is opened by ``tensorboardX.writer.EventFileWriter``, looked up now: that is the name
    which W&B replaces (``sync_tensorboard=True``) to learn of folders with events. Its queue stays
    empty, for a flush would not wait for what is in it.
    """

    def __init__(
        self, run_dir: Path, kept: _Kept | None, hyperparameters: Mapping[str, Any]
    ) -> None:
        from tensorboardX import writer

        event_pb2 = import_module("tensorboardX.proto.event_pb2")
        self._event = event_pb2.Event
        self._summary = import_module("tensorboardX.proto.summary_pb2").Summary
        # The file name has whole seconds only: a quick resume would overwrite the first file.
        self._opened: Any = writer.EventFileWriter(
            str(run_dir), filename_suffix=f".{time.time_ns()}"
        )
        self._writer: Any = self._opened._ev_writer
        self._best = kept.best if kept else None
        if kept is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.write_event(self._event(step=kept.purge_step, session_log=start))
        if hyperparameters:
            self._write(kept.purge_step if kept else 0, _session_start(hyperparameters))

    def add(self, row: dict[str, Any]) -> None:
        scalars = {key: value for key, value in row.items() if key != "env_steps"}
        if EVALUATED in row:
            self._best = scalars["best/episode_return"] = _higher(self._best, row[EVALUATED])
        values = [
            self._summary.Value(tag=key, simple_value=value)
            for key, value in scalars.items()
            if isinstance(value, int | float)
        ]
        self._write(row["env_steps"], self._summary(value=values))

    def _write(self, step: int, summary: Any) -> None:
        event = self._event(step=step, summary=summary)
        event.wall_time = time.time()
        self._writer.write_event(event)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._opened.close()


def _session_start(hyperparameters: Mapping[str, Any]) -> Any:
    """The summary that puts a run into TensorBoard's table of hyperparameters.

    The plugin also knows an experiment summary that lists columns. Without it TensorBoard makes the
    columns from all runs, with their ranges, and shows those first in which the runs differ.
    """
    from tensorboardX.summary import hparams

    values = {
        name: " ".join(map(str, value)) or None if isinstance(value, tuple) else value
        for name, value in hyperparameters.items()
    }
    return hparams(values, {})[1]


def _higher(best: float | None, value: float | None) -> float | None:
    return value if best is None or (value is not None and value > best) else best


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """All rows of a run, oldest first; a last line still being written is left out.

    Raises UserError when there is no metrics.jsonl, or a row other than the last is damaged.
    """
    path = Path(run_dir) / METRICS
    try:
        return [row for _, row in _rows(path.read_bytes(), path)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _rows(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each complete line of a file: the offset of its end, and its row."""
    start = 0
    while (end := data.find(b"\n", start) + 1) > 0:
        try:
            row = _checked(json.loads(data[start:end]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if end == len(data):
                return
            number = data.count(b"\n", 0, end)
            raise UserError(f"{path} is damaged in line {number}; delete that line") from error
        yield end, row
        start = end


def _checked(row: Any) -> dict[str, Any]:
    """``row`` if it is one; KeyError, TypeError or ValueError otherwise."""
    counted = {name: row[name] for name in _REQUIRED}
    measured = (value for value in row.values() if value is not None)
    if not all(isinstance(v, float) or (isinstance(v, int) and abs(v) < 2**63) for v in measured):
        raise ValueError("what is measured is a number, or null")
    if not isinstance(counted["env_steps"], int) or None in counted.values():
        raise ValueError("env steps are counted")
    return row


class _Kept(NamedTuple):
    """What a resumed run keeps: the rows' bytes, the first env step to forget, the best score."""

    data: bytes = b""
    purge_step: int = 0
    best: float | None = None


def _cut_back(path: Path, written: Written) -> _Kept:
    """Drop the rows that were written after ``written``, and warn if those before were altered."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: written.size]
    if written.sha256 != hashlib.sha256(whole).hexdigest():
        if written.sha256 is not None:
            what = _alteration(data, path, written)
            warn(f"{path} was altered: {what}; look at it before you use it")
        ends = [end for end, row in _rows(data, path) if row["update"] <= written.update]
        whole = data[: max(ends, default=0)]
    if len(whole) < len(data):
        write_bytes_atomic(path, whole)
    kept = _Kept(whole)
    for _, row in _rows(whole, path):
        kept = _Kept(whole, row["env_steps"] + 1, _higher(kept.best, row.get(EVALUATED)))
    return kept


def _alteration(data: bytes, path: Path, written: Written) -> str:
    """In words, what training cannot have written up to ``written``."""
    before = {"update": 0, "env_steps": 0}
    for number, (_, row) in enumerate(_rows(data, path), start=1):
        if row["update"] > written.update:
            break
        if row["update"] <= before["update"]:
            return f"line {number} is of update {row['update']}, after one of {before['update']}"
        if row["env_steps"] < before["env_steps"]:
            return f"line {number} has {row['env_steps']} env steps, after {before['env_steps']}"
        before = row
    if len(data) < written.size:
        return f"it has {len(data)} of the {written.size} bytes that training wrote"
    return f"its first {written.size} bytes are not those that training wrote"
