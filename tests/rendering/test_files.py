"""The files that render writes, read back: length, size, codec, and something moving in them.

Everything here draws. A machine without OpenGL's libraries fails, and is told which they are;
``-m "not slow and not opengl"`` leaves these tests out.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import mujoco
import numpy as np
import pytest
from PIL import Image

from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.rendering import offscreen
from pes_rl.rendering.offscreen import pictures
from pes_rl.rendering.output import render
from pes_rl.rendering.recording import record
from pes_rl.storage.policy import load_policy
from tests.tools.rendering_tools import save, save_dots
from tests.tools.run_tools import contents
from tests.tools.viewer_tools import general_episode, recording

pytestmark = pytest.mark.opengl
STEPS = 30  # 1.5 s of HalfCheetah


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    return save(tmp_path_factory.mktemp("policy"), "HalfCheetah-v5", horizon=STEPS, scale=2.0)


def read_mp4(path: Path) -> tuple[dict, np.ndarray]:
    """What ffmpeg says of a video, and its frames [n, height, width, 3]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo"]
    done = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True, timeout=60
    )
    said = done.stderr.decode()
    video = re.search(r"Video: (\w+).*? (yuv\w+)\(.*? (\d+)x(\d+)[, ].*?([\d.]+) fps", said)
    seconds = re.search(r"Duration: 00:00:([\d.]+)", said)
    assert video is not None and seconds is not None, said
    width, height = int(video[3]), int(video[4])
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    meta = {"codec": video[1], "pix_fmt": video[2], "size": (width, height)}
    return meta | {"fps": float(video[5]), "duration": float(seconds[1])}, frames


def test_mp4(tmp_path, cheetah, capsys):
    out = tmp_path / "x.mp4"
    flags = ["--out", str(out), "--width", "160", "--height", "120"]
    assert cli.main(["render", str(cheetah), *flags]) == 0
    meta, frames = read_mp4(out)
    assert meta["size"] == (160, 120)
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"] == "yuv420p"
    assert meta["fps"] == 20
    assert meta["duration"] == pytest.approx((STEPS + 1) * 0.05, abs=0.02)
    assert len(frames) == STEPS + 1
    assert (frames.mean((1, 2, 3)) > 100).all()  # not black
    assert (frames.std((1, 2, 3)) > 15).all()  # nor blank
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3)).min() > 0.05  # moving
    data = out.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    assert list(tmp_path.iterdir()) == [out]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fps", [10, 60])
def test_mp4_at_another_rate_lasts_as_long(tmp_path, cheetah, fps):
    render(cheetah, tmp_path / "x.mp4", width=64, fps=fps)
    meta, frames = read_mp4(tmp_path / "x.mp4")
    assert meta["size"] == (64, 48)
    assert meta["fps"] == fps
    assert len(frames) / fps == pytest.approx(STEPS * 0.05, abs=1.01 / fps)


def test_gif(tmp_path, cheetah):
    render(cheetah, tmp_path / "x.gif", width=81, height=60)
    with Image.open(tmp_path / "x.gif") as image:
        assert image.size == (81, 60)
        assert image.info["loop"] == 0
        count, last, milliseconds = image.n_frames, None, 0
        for index in range(count):
            image.seek(index)
            milliseconds += image.info["duration"]
            picture = np.asarray(image.convert("RGB"), int)
            assert picture.mean() > 100
            assert last is None or (picture != last).any()
            last = picture
    assert count == STEPS // 2 + 1
    assert milliseconds / 1000 == pytest.approx(count * 0.1, abs=0.02)


def test_png_is_the_middle_of_the_episode(tmp_path, cheetah):
    result = render(cheetah, tmp_path / "x.png", width=160, episode_seed=4)
    recording = record(load_policy(cheetah), 4)
    expected = next(pictures(recording, [STEPS // 2], 160, 120))
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(np.asarray(image), expected)
    assert result == {"file": str(tmp_path / "x.png"), **recording.details}


@pytest.mark.parametrize("env_id", ["Ant-v5", "Reacher-v5", "Swimmer-v5", "InvertedPendulum-v5"])
def test_every_kind_of_task_is_drawn(tmp_path, env_id):
    recording = record(load_policy(save(tmp_path, env_id, horizon=4)))
    picture = next(pictures(recording, [2], 160, 120))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert border.mean() > 120  # no black sky
    colours = np.ptp(picture.astype(int), axis=2)
    assert 0.005 < (colours > 60).mean() < 0.5  # the body is coloured, floor and air are grey


def test_every_kind_of_shape_is_drawn():
    picture = next(pictures(general_episode(3), [1], 160, 120))
    assert picture.std() > 10


def test_the_floor_goes_on_for_ever(tmp_path, cheetah):
    """The official floors end after 40 m, which a cheetah runs in ten seconds."""
    recording = record(load_policy(cheetah))
    far = recording.qpos.copy()
    far[:, 0] += 300 * 4 / 3  # whole tiles of 80 m / 60
    near, away = (
        next(pictures(dataclasses.replace(recording, qpos=qpos), [9], 160, 120))
        for qpos in (recording.qpos, far)
    )
    assert np.abs(near.astype(int) - away).mean() < 0.5


def test_shadows_lie_on_the_floor(cheetah):
    """Without them the darkest pixels are the body's; with them, grey ones below it."""
    recording = record(load_policy(cheetah))
    picture = next(pictures(recording, [STEPS], 320, 240)).astype(int)
    dark = (picture.max(axis=2) < 140) & (np.ptp(picture, axis=2) < 25)
    assert dark.mean() > 0.002
    assert np.nonzero(dark)[0].mean() > 120  # in the lower half


def test_the_models_own_camera(cheetah):
    recording = record(load_policy(cheetah))
    own, usual = (next(pictures(recording, [9], 96, 72, camera)) for camera in ("track", None))
    assert np.abs(own.astype(int) - usual).mean() > 5


def test_drawing_leaves_the_recording_as_it_is(cheetah):
    recording = record(load_policy(cheetah))
    before = [recording.model.tex_data.copy(), recording.model.geom_size.copy()]
    next(pictures(recording, [0], 800, 600))  # larger than the model allows by itself
    assert recording.model.vis.global_.offwidth <= 640
    assert np.array_equal(before[0], recording.model.tex_data)
    assert np.array_equal(before[1], recording.model.geom_size)


def test_pictures_are_drawn_one_by_one(cheetah, monkeypatch):
    drawn = []
    draw = offscreen._Studio.draw
    monkeypatch.setattr(
        offscreen._Studio, "draw", lambda self, frame: drawn.append(frame) or draw(self, frame)
    )
    stream = pictures(record(load_policy(cheetah)), range(STEPS), 32, 24)
    assert not drawn
    next(stream)
    next(stream)
    assert drawn == [0, 1]


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_failure_leaves_the_old_file(tmp_path, cheetah, monkeypatch, suffix):
    out = tmp_path / f"x.{suffix}"
    out.write_text("old")
    draw = offscreen._Studio.draw

    def fails(self, frame):
        if frame == 20:
            raise KeyboardInterrupt
        return draw(self, frame)

    monkeypatch.setattr(offscreen._Studio, "draw", fails)
    with pytest.raises(KeyboardInterrupt):
        render(cheetah, out, width=32)
    assert contents(tmp_path) == {out.name: b"old"}


def test_an_encoder_that_fails_says_why(tmp_path, cheetah, monkeypatch):
    from pes_rl.rendering import encode

    monkeypatch.setattr(encode, "_MP4", ["-c:v", "no-such-codec", "-f", "mp4"])
    with pytest.raises(UserError, match=r"no-such-codec|Error"):
        render(cheetah, tmp_path / "new" / "x.mp4", width=32)
    assert contents(tmp_path) == {}


def test_no_ffmpeg(tmp_path, cheetah, monkeypatch):
    def none():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        render(cheetah, tmp_path / "x.mp4", width=32)
    assert contents(tmp_path) == {}


def test_photographs_become_clips(tmp_path, dots):
    policy = save_dots(tmp_path / "policy")
    render(policy, tmp_path / "x.mp4")
    meta, frames = read_mp4(tmp_path / "x.mp4")
    assert meta["size"] == (46, 32)  # even
    assert meta["fps"] == 10
    assert len(frames) == 13
    assert np.all(np.diff(frames.mean((1, 2, 3))) > 1)
    render(policy, tmp_path / "x.png", height=62)
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (90, 62)


def test_a_simulation_without_geoms():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint type='slide'/><inertial pos='0 0 0' mass='1' "
        "diaginertia='1 1 1'/></body></worldbody></mujoco>"
    )
    still = recording(model, np.zeros((2, 1)), [0.0], 0.1)
    assert next(pictures(still, [0], 32, 24)).shape == (24, 32, 3)
