"""Nothing that happens to stderr stops work."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import pytest

from pes_rl import console
from pes_rl.runs.progress import Progress


class Lost(io.StringIO):
    """A terminal that has gone."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str = "") -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        self.write()


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), Lost()], ids=["none", "closed", "lost"])
def test_progress_goes_on(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    console.say("nobody hears it")
    assert console.is_terminal() == isinstance(stream, Lost)
    with Progress(100, "run") as progress:
        progress.update(10, 1.0, math.nan, -math.inf, evaluated=True)
        progress.note("a note")
        progress.update(100, 1.0, 2.0, 3.0)
    assert sys.stderr is stream


def test_a_bar_is_drawn_and_notes_go_above_it(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(100, "run") as progress:
        progress.update(100, 1.0, 2.0, 3.0)
        console.say("said")
        progress.note("noted")
    shown = stream.getvalue()
    assert "100%" in shown and "best 3.0" in shown
    assert "said\n" in shown and "noted\n" in shown


def test_the_exit_code_is_the_command_s_when_stderr_is_full(tmp_path):
    code = "import sys; from pes_rl.cli import main; sys.exit(main(['evaluate', 'missing']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stderr=full, cwd=tmp_path, timeout=60, check=False
        )
    assert done.returncode == 2
