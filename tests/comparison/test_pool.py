"""Workers: what they are told, what becomes of failures, and that none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pes_rl.comparison import pool
from pes_rl.comparison.pool import Task, run_tasks

# Stands for a worker: does what the task says, and obeys the pipe as the real one does.
WORKER = """
import json, os, signal, sys, time
from pes_rl.comparison import worker
import threading
task = json.loads(worker._read_line())
threading.Thread(target=worker._listen, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: (open(task["file"], "a").write("saved"), os._exit(143)))
open(task["file"], "a").write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')} ")
time.sleep(task["sleep"])
if task.get("words"):
    print(task["words"], file=sys.stderr)
sys.exit(task.get("code", 0))
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_COMMAND", (sys.executable, "-c", WORKER))

    def task(name: str, sleep: float = 0.0, **payload) -> Task:
        told = {"file": str(tmp_path / name), "sleep": sleep, **payload}
        return Task(name, told, tmp_path / f"{name}.log", pool.one_thread())

    return task


def run(tasks, workers=2, stop=(), tick=lambda running: None):
    done = []
    failures = run_tasks(tasks, workers, stop, tick, lambda task: done.append(task.label))
    return sorted(done), failures


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie is gone as far as anybody is concerned; it waits for its parent to take note.
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pid(path: Path) -> int | None:
    """The process that has begun to work on the task of this file."""
    words = path.read_text().split() if path.exists() else []
    return int(words[0]) if len(words) > 1 else None


def test_all_tasks_are_done_with_one_thread_each(make, tmp_path):
    most, sessions = [], set()

    def tick(running):
        most.append(len(running))
        workers = [pid(tmp_path / task.label) for task in running]
        sessions.update(os.getsid(worker) for worker in workers if worker and alive(worker))

    done, failures = run([make(name, 0.3) for name in "abc"], tick=tick)
    # Ctrl-C on a terminal is for its foreground session, and must not reach workers twice.
    assert sessions and os.getsid(0) not in sessions
    assert (done, failures) == (["a", "b", "c"], [])
    assert max(most) == 2
    assert all((tmp_path / name).read_text().split()[1] == "1" for name in "abc")


def test_a_failure_does_not_hold_up_the_others(make):
    tasks = [
        make("bad", code=3, words="noise\nthe disk is full"),
        make("good"),
        make("odd", code=4),
    ]
    done, failures = run(tasks, workers=1)
    assert done == ["good"]
    assert [(f.task.label, f.reason) for f in failures] == [
        ("bad", "the disk is full"),
        ("odd", "exit code 4"),
    ]


def test_a_killed_worker_is_a_failure(make, tmp_path):
    def kill(running):
        if running and (worker := pid(tmp_path / "a")):
            os.kill(worker, signal.SIGKILL)

    done, [failure] = run([make("a", 60.0)], tick=kill)
    assert done == [] and failure.reason == "killed by signal 9"


def test_stopping_lets_workers_save_and_starts_no_more(make, tmp_path):
    stop: list[int] = []

    def tick(running):
        if all(pid(tmp_path / name) for name in "ab"):
            stop.append(signal.SIGINT)

    done, failures = run([make(name, 60.0) for name in "abc"], stop=stop, tick=tick)
    assert (done, failures) == ([], [])
    assert all((tmp_path / name).read_text().endswith("saved") for name in "ab")
    assert not (tmp_path / "c").exists()


def test_an_exception_leaves_no_process_behind(make, tmp_path):
    def tick(running):
        if pid(tmp_path / "a"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([make("a", 60.0)], tick=tick)
    worker = pid(tmp_path / "a")
    assert worker and not alive(worker)


def test_workers_go_when_their_parent_is_killed(tmp_path):
    parent = f"""
import sys
from pathlib import Path
from pes_rl.comparison import pool
pool._COMMAND = (sys.executable, "-c", {WORKER!r})
payload = dict(file={str(tmp_path / "a")!r}, sleep=60)
task = pool.Task("a", payload, Path({str(tmp_path / "log")!r}))
pool.run_tasks([task], 1, [], lambda running: None, lambda task: None)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_until(lambda: pid(tmp_path / "a") is not None)
    worker = pid(tmp_path / "a")
    assert worker and alive(worker)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(worker))
    assert "saved" not in (tmp_path / "a").read_text()


def test_progress_reads_the_end_of_the_metrics(tmp_path):
    from pes_rl.comparison.progress import last_row

    assert last_row(tmp_path) == {}
    rows = [json.dumps({"env_steps": n, "padding": "x" * 300}) + "\n" for n in range(100)]
    (tmp_path / "metrics.jsonl").write_text("".join(rows) + '{"env_ste')
    assert last_row(tmp_path)["env_steps"] == 99
