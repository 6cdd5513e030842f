"""What ``render`` is asked wrongly, or cannot do: one line that says so, and no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.rendering.output import render
from tests.tools.rendering_tools import save
from tests.tools.run_tools import contents

PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    return save(tmp_path_factory.mktemp("policy"), "HalfCheetah-v5", horizon=20)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("", "--out FILE (.mp4, .gif, .png, .html) and --live: one of them is needed"),
        ("--out x.mp4 --live", "cannot be combined"),
        ("--out x.avi", "'.avi'"),
        ("--out x.webm", "choose from .mp4, .gif, .png, .html"),
        ("--out clip", "no suffix"),
        ("--out x.mp5", "did you mean '.mp4'"),
        ("--out file/x.mp4", "Not a directory"),
        ("--out file/deeper/x.html", "Not a directory"),
        ("--out folder.mp4", "it is a folder"),
        ("--out new/folder/x.mp4 --camera trak", "did you mean 'track'"),
        ("--out x.mp4 --width 0", "--width must be at least 1"),
        ("--out x.png --height 1e6", "--height must be 16 to 4096 pixels, not 1000000"),
        ("--out x.mp4 --width wide", "--width"),
        ("--out x.mp4 --width 641", "--width must be even for .mp4, not 641; use 642"),
        ("--out x.mp4 --fps 0", "--fps"),
        ("--out x.gif --fps 60", "--fps must be 1 to 50 for .gif, not 60"),
        ("--out x.png --fps 20", "--fps means nothing for .png"),
        ("--out x.html --camera track", "--camera means nothing for .html"),
        ("--out x.html --width 640", "--width means nothing for .html"),
        ("--live --fps 20", "--fps means nothing with --live"),
        ("--out x.mp4 --episode-seed -1", "--episode-seed must be at least 0"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, cheetah, flags, problem, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.mp4").mkdir()
    before = contents(tmp_path)
    assert cli.main(["render", str(cheetah), *flags.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pes-rl: error: ")
    assert problem in said
    assert said.count("\n") == 1
    assert contents(tmp_path) == before


def test_no_policy_no_file(tmp_path, capsys):
    assert cli.main(["render", str(tmp_path / "typo"), "--out", str(tmp_path / "x.html")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_written_to(tmp_path, cheetah, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # permissions do not stop root
    with pytest.raises(UserError, match=r"cannot write .*x\.html: Permission denied"):
        render(cheetah, tmp_path / "new" / "x.html")
    assert contents(tmp_path) == {}


def _broken_egl(folder: Path) -> dict[str, str]:
    for name in ("libEGL.so", "libEGL.so.1"):
        (folder / name).write_text("not a library")
    return {"LD_LIBRARY_PATH": str(folder)}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("library", "egl: its library does not load"),
        ("library, MUJOCO_GL=egl", "egl: its library does not load"),
        ("drivers", "EGL device display"),
        ("MUJOCO_GL=nonsense", "MUJOCO_GL=nonsense is none of egl, osmesa, glfw"),
        ("MUJOCO_GL=off", "MUJOCO_GL=off turns it off"),
    ],
)
def test_without_opengl_the_packages_are_named_and_pages_still_work(
    tmp_path, cheetah, broken, reason
):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    if broken.startswith("library"):
        environment |= _broken_egl(libraries)
    if broken == "drivers":
        environment["__EGL_VENDOR_LIBRARY_DIRS"] = str(libraries)
    if "MUJOCO_GL" in broken:
        environment["MUJOCO_GL"] = broken.rpartition("=")[2]

    def pes_rl(out: str):
        return subprocess.run(
            [sys.executable, "-m", "pes_rl", "render", str(cheetah), "--out", out],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    failed = pes_rl("new/x.png")
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1
    assert reason in failed.stderr
    assert f"apt-get install {PACKAGES}`" in failed.stderr
    assert "--out FILE.html" in failed.stderr
    assert not (tmp_path / "new").exists()
    if "MUJOCO_GL" in broken:  # MuJoCo itself cannot be imported as it is
        assert pes_rl("x.html").returncode == 0
        assert (tmp_path / "x.html").stat().st_size > 1000
