"""``benchmarks.reductions``: what is asked for is what is changed, and what comes out is kept."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import reductions


def test_copies_with_the_settings_given(tmp_path, monkeypatch, capsys):
    """One setting is changed, a row for each seed comes out, and the file says both."""
    asked = ["copy-task", "--style", "truncated-bptt", "--steps", "1", "--seeds", "2"]
    monkeypatch.setattr(reductions, "one_xla_thread", lambda: None)  # for processes of their own
    monkeypatch.setattr(sys, "argv", ["reductions", *asked, "--out", str(tmp_path)])
    reductions.main()
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert found["settings"] == {
        "style": "truncated-bptt",
        "seeds": 2,
        "rate": 0.03,
        "perturb_std": 0.1,
        "steps": 1,
    }
    assert len(found["longest solved"]) == len(found["after steps"]) == 2
    assert "longest solved" in capsys.readouterr().out


def test_every_experiment_has_its_own_settings(capsys):
    """What an experiment does not have is refused by name."""
    parse = reductions.parser().parse_args
    assert parse(["many-hyperparameters", "--width", "32", "--out", "x"]).width == 32
    with pytest.raises(SystemExit):
        parse(["copy-task", "--width", "32", "--out", "x"])
    assert "--width" in capsys.readouterr().err
