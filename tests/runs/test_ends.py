"""What is said where a run begins, while it trains, and where it ends."""

from __future__ import annotations

import dataclasses
import io
import re
import shlex
import sys

import pytest

from pes_rl import cli
from pes_rl.config import build_config
from pes_rl.runs import ends, recorder
from pes_rl.runs.progress import Progress, fit
from pes_rl.storage.checkpoint import load_latest
from tests.tools.run_tools import SMALL, resume, train

CONFIG = build_config({"env": "HalfCheetah"})
PARTS = {"speed": "24,812 env steps/s", "return": "return -1234.5", "best": "best 5848.2"}
PARTS["left"] = "1:02:03 left"


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Of a run of Swimmer, of its end and of its continuation: the lines, without a terminal."""
    path, lines = tmp_path_factory.mktemp("runs") / "a run", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "_OUTLOOK_S", 0.0)
        patch.setenv("PWD", str(path.parent))
        for number, call in enumerate((train, resume)):
            stream = io.StringIO()
            patch.setattr(sys, "stderr", stream)
            flags = f"--env Swimmer {SMALL} --num-env-steps 800"
            assert (call(flags, path) if number == 0 else call(path, "--num-env-steps 1200")) == 0
            lines.append(stream.getvalue().splitlines())
    return lines


def test_a_run_begins_and_ends_with_what_matters(said):
    first, again = said
    assert first[:6] == [
        "a run",
        "  task       Swimmer, solved at 325",
        "  estimator  pes, 2 pairs = 4 particles",
        "  preset     tuned, 3 options changed",
        "  policy     linear, 16 parameters",
        "  budget     800 env steps",
    ]
    assert re.fullmatch(r"  time       about \d+ s more, at [\d,]+ env steps/s", first[7])
    assert again[5] == "  budget     1,200 env steps, 800 of them done"
    end = first.index("a run: 800 env steps")
    assert re.fullmatch(r"  return     best \S+, last \S+", first[end + 1])
    assert first[end + 2] == "  solved     no, not yet at 325"
    assert re.fullmatch(r"  time       0:\d\d, [\d,]+ env steps/s", first[end + 3])
    assert first[end + 4 :] == [
        "  next       pes-rl evaluate 'a run'",
        "             pes-rl render 'a run' --out episode.html",
        "             pes-rl train --resume 'a run' --num-env-steps 1_600",
    ]
    parsers = cli._parsers()[1]
    for line in first[end + 4 :]:
        words = shlex.split(line.removeprefix("  next"))[1:]
        assert parsers[words[0]].parse_args(words[1:])


def test_without_a_terminal_there_is_a_line_an_evaluation_and_nothing_else(said):
    first, _ = said
    between = first[8 : first.index("a run: 800 env steps")]
    line = r"[48]00 env steps: return -?\d+\.\d, best -?\d+\.\d, [\d,]+ env steps/s"
    assert len(between) == 2 and all(re.fullmatch(line, text) for text in between), between


def test_the_first_solving_evaluation_is_remembered(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, num_env_steps=10)
    scores = ends.Scores(5000.0, 3000.0, 300_000)
    text = ends.closing(config, scores, 10, 1.0, tmp_path)
    assert "  solved     after 300,000 env steps, at 3430\n" in text
    assert "yes, at 3430" in ends.closing(config, scores._replace(solved=None), 10, 1.0, tmp_path)
    # Of a run: the pendulum reaches 950 soon, and the checkpoint has it.
    flags = "--env InvertedPendulum --eval-every 2000 --num-threads 1 --stop-at solved"
    assert train(flags, tmp_path / "run") == 0
    first = capsys.readouterr().err
    [steps] = re.findall(r"  solved     after ([\d,]+) env steps, at 950\n", first)
    assert f"\n{steps} env steps: return " in first
    # It was stopped by its goal: the budget is not used up.
    assert first.endswith(f"pes-rl train --resume {tmp_path / 'run'}\n")
    meta = load_latest(tmp_path / "run").meta
    assert meta["solved_env_steps"] == int(steps.replace(",", ""))


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("name", ["HalfCheetah pes", "InvertedDoublePendulum es-single", 40 * "n"])
def test_the_bar_fits_and_no_number_is_cut(width, name, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    with Progress(100_000_000, name) as progress:
        progress.update(5_000_000, 24_812.0, -1234.5, 5848.2)
        command = f"pes-rl train --resume {200 * 'x'}"
        progress.note(command)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())
    assert f"{command}\n" in shown  # in one piece, to be pasted
    drawn = [line for line in re.split(r"[\r\n]+", shown) if "  5%" in line]
    assert drawn
    for line in drawn:
        assert len(line) <= width and "━" in line
        info = line.partition("  5%")[2].split("  ")
        assert [part.strip() for part in info if part.strip()] in (
            ["return -1234.5"],
            ["return -1234.5", "1:03:49 left"],
            ["24,812 env steps/s", "return -1234.5", "best 5848.2", "1:03:49 left"],
        )
    assert ("best" in drawn[-1]) == (width == 120)


def test_what_has_no_room_is_left_out():
    assert fit("HalfCheetah pes", PARTS, 200)[1].split("  ") == list(PARTS.values())
    assert fit("HalfCheetah pes", PARTS, 60) == (
        "HalfCheetah pes",
        "return -1234.5  1:02:03 left",
    )
    assert fit("InvertedDoublePendulum pes", {}, 60)[0] == "InvertedDoublePendu…"
    assert fit("Swimmer truncated-es", {}, 50)[0] == "Swimmer"
    assert fit("Swimmer es", PARTS, 20)[1] == ""


def test_lines_of_a_run_fit_60_columns(tmp_path):
    config = build_config({"env": "InvertedDoublePendulum", "estimator": "truncated-es"})
    scores = ends.Scores(123456.7, -123456.7, 123_456_789)
    texts = (
        ends.opening(config, 1_000_000, 123_456_789, tmp_path),
        ends.closing(config, scores, 123_456_789, 1e5, tmp_path),
        ends.stopping(config, 123_456_789, tmp_path),
        ends.outlook(config, 10, 1_234_567.0),
    )
    lines = [line for text in texts for line in text.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 60, lines
