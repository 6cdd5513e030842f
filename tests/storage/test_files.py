"""Durable small files, and values as JSON can hold them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.storage.files import as_path, make_folders, plain, read_json, write_text_atomic


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_text_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(OSError, match="No space"):
                write_text_atomic(path, "new")
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_plain_values():
    row = {"a": np.float32(0.5), "b": np.int64(2), "c": [np.nan, (np.inf, True)], "d": Path("x")}
    assert plain(row) == {"a": 0.5, "b": 2, "c": [None, [None, True]], "d": "x"}
    assert plain(np.float64(np.nan)) is None
    assert type(plain(np.float64(1))) is float


def test_json_that_is_not_there_or_no_object_is_none(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) is None
    for text in ("", "[1]", "{"):
        path.write_text(text)
        assert read_json(path) is None
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_paths_as_users_give_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/a") == as_path(Path("~/a")) == tmp_path / "a"
    assert as_path("zoo/Hopper") == Path("zoo/Hopper")
    for bad, words in (
        ("~no such user/x", "cannot find the folder"),
        (os.fsdecode(b"l\xe4uf"), r"'l\\udce4uf' is not UTF-8"),
        (3, "needed, not int"),
        (None, "needed, not NoneType"),
    ):
        with pytest.raises(UserError, match=words):
            as_path(bad)


def test_folders_that_are_made_keep_their_names_when_the_power_goes(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    made = list(make_folders(tmp_path / "a" / "b"))
    assert made == [tmp_path / "a", tmp_path / "a" / "b"]
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    assert list(make_folders(tmp_path / "a" / "b")) == []
