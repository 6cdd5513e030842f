"""metrics.jsonl, one row per update, and TensorBoard events with the same scalars.

Keys are the public ones: ``env_steps``, ``update``, ``wall_time_s`` in every row, the others
(``eval/...``, ``train/...``, ``total/...``) where they apply. TensorBoard is given the rows that
evaluated and, of the others, the first in each 2000 environment steps: it shows a thousand points
a curve, and updates can be far more frequent. Beside the scalars it gets the configuration, for the
table of its HPARAMS tab, and ``best/episode_return``, the highest evaluation so far, since that
table shows the newest value of every scalar.
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
from pes_rl.storage.run_folder import EVENTS, METRICS

_STRIDE = 2000
_RETURN = "eval/episode_return"
_REQUIRED = ("env_steps", "update", "wall_time_s")


class MetricsWriter:
    """Appends rows to ``run_dir/metrics.jsonl`` and to a TensorBoard event file beside it.

    With ``resume_update`` the rows after that update, and a last line that a crash tore, are first
    cut off, and TensorBoard is told to forget them; a missing row of that update is warned about.
    ``hyperparameters`` (scalars, tuples, None where unset) go to TensorBoard. A row reaches the
    operating system at once; ``sync`` before a checkpoint puts it on disk. Use as a context
    manager, or call ``close``.
    Raises UserError when the folder cannot be written or a row in the middle is damaged.
    """

    def __init__(
        self,
        run_dir: Path,
        resume_update: int | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        path = Path(run_dir) / METRICS
        try:
            kept = None if resume_update is None else _cut_back(path, resume_update)
            self._events = _Events(Path(run_dir), kept, hyperparameters or {})
            self._file = path.open("ab")
            self._digest = hashlib.sha256(path.read_bytes())
            self._size, self._lacking = path.stat().st_size, False
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
            self._digest.update(line)
            self._size += len(line)
            self._events.add(clean)
        except OSError as error:
            self._lacking = True
            raise UserError(f"cannot write {self._file.name}: {error.strerror}") from error

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Size and SHA-256 of all rows so far, for `warn_of_altered_rows`."""
        return {"size": self._size, "sha256": self._digest.hexdigest()}

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
    """One TensorBoard event per row, see the module's docstring for which rows.

    tensorboardX's SummaryWriter spends 1.6 ms on a row of twelve scalars and needs a thread and a
    queue; its event file underneath takes all of them in one event for a twentieth of that. What
    has not filled the file's buffer (some twenty rows) reaches it at ``flush``, which waits for the
    disk.
    """

    def __init__(
        self, run_dir: Path, kept: _Kept | None, hyperparameters: Mapping[str, Any]
    ) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        event_pb2 = import_module("tensorboardX.proto.event_pb2")
        self._event = event_pb2.Event
        self._summary = import_module("tensorboardX.proto.summary_pb2").Summary
        # The file name has whole seconds only: a quick resume would overwrite the first file.
        self._writer: Any = EventsWriter(str(run_dir / EVENTS), f".{time.time_ns()}")
        self._last_step = (kept.purge_step if kept else 0) - 1
        self._best = kept.best if kept else None
        if kept is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.write_event(self._event(step=kept.purge_step, session_log=start))
        if hyperparameters:
            self._write(self._last_step + 1, _session_start(hyperparameters))

    def add(self, row: dict[str, Any]) -> None:
        step, last = row["env_steps"], self._last_step
        self._last_step = step
        if step // _STRIDE == last // _STRIDE and _RETURN not in row:
            return
        scalars = {key: value for key, value in row.items() if key != "env_steps"}
        if _RETURN in row:
            self._best = scalars["best/episode_return"] = _higher(self._best, row[_RETURN])
        values = [
            self._summary.Value(tag=key, simple_value=value)
            for key, value in scalars.items()
            if isinstance(value, int | float)
        ]
        self._write(step, self._summary(value=values))

    def _write(self, step: int, summary: Any) -> None:
        event = self._event(step=step, summary=summary)
        event.wall_time = time.time()
        self._writer.write_event(event)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


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
    """What a resumed run keeps: the first env step to forget, and the best evaluation before it."""

    purge_step: int
    best: float | None


def _cut_back(path: Path, resume_update: int) -> _Kept:
    """Drop the rows after ``resume_update``."""
    data = path.read_bytes() if path.exists() else b""
    end, update, kept = 0, 0, _Kept(0, None)
    for row_end, row in _rows(data, path):
        if row["update"] > resume_update:
            break
        end, update = row_end, row["update"]
        kept = _Kept(row["env_steps"] + 1, _higher(kept.best, row.get(_RETURN)))
        if update == resume_update:
            break  # whatever a crash left behind the checkpoint's row need not be readable
    if update < resume_update:
        warn(
            f"{path} ends at update {update}, before the checkpoint at update {resume_update}; "
            "the rows between them are lost"
        )
    if end < len(data):
        write_bytes_atomic(path, data[:end])
    return kept


def warn_of_altered_rows(
    run_dir: Path, resume_update: int, fingerprint: Mapping[str, Any] | None = None
) -> None:
    """Warn of the first row, up to that of ``resume_update``, that training did not write there.

    Updates count 1, 2, 3, ..., and env steps never fall. Rows that look sound are compared with
    ``fingerprint``, which the checkpoint has of them. The rows are left as they are.
    """
    path, env_steps = Path(run_dir) / METRICS, 0
    try:
        data = path.read_bytes()
    except OSError:
        return  # whoever opens it to go on says so
    for number, (_, row) in enumerate(_rows(data, path), start=1):
        problem = None
        if row["update"] != number:
            problem = f"is of update {row['update']}, not {number}"
        elif row["env_steps"] < env_steps:
            problem = f"has {row['env_steps']} env steps, fewer than the {env_steps} before it"
        if problem:
            warn(f"{path} was altered: line {number} {problem}; look at it before you use it")
        if problem:
            return
        if row["update"] == resume_update:
            break
        env_steps = row["env_steps"]
    known = fingerprint or {}
    if known and hashlib.sha256(data[: known["size"]]).hexdigest() != known["sha256"]:
        warn(f"{path} was altered: its rows are not those of the checkpoint; compare a backup")
