"""A recording is the episode that evaluate scores; clips keep time; cameras see the whole body."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.evaluation import evaluate
from pes_rl.policy_io import load_policy
from pes_rl.rendering import live
from pes_rl.rendering.camera import plan_shot
from pes_rl.rendering.output import render, sample_frames
from pes_rl.rendering.recording import record
from tests.rendering_tools import DOTS, SIZES, dots, save, save_dots  # noqa: F401 - dots: fixture
from tests.run_tools import contents

PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5"])
def test_the_recorded_return_is_the_evaluated_one(tmp_path, env_id):
    policy = save(tmp_path / "policy", env_id)
    for seed in (0, 7):
        recording = record(load_policy(policy), seed)
        result = evaluate(policy, episodes=1, seed=seed)
        assert recording.details["episode_return"] == result["episode_return_mean"]
        assert recording.details["episode_length"] == result["episode_length_mean"]
        assert recording.details["episode_length"] == len(recording.rewards)
        assert recording.details["episode_seed"] == seed


def test_frames_are_the_poses_before_each_step_and_at_the_end(tmp_path):
    policy = load_policy(save(tmp_path, "HalfCheetah-v5", horizon=30))
    recording = record(policy, 3)
    with gymnasium.make("HalfCheetah-v5") as env:
        observation, _ = env.reset(seed=3)
        data = env.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]
        for qpos, qvel, reward in zip(
            recording.qpos, recording.qvel, [*recording.rewards, None], strict=True
        ):
            assert np.array_equal(qpos, data.qpos)
            assert np.array_equal(qvel, data.qvel)
            observation, got, *_ = env.step(policy(observation))
            assert reward in (None, got)
    assert recording.dt == 0.05
    assert recording.qpos.shape == (31, 9)
    assert recording.images is None
    assert recording.title == recording.details["environment"] == "HalfCheetah-v5"
    assert recording.details["env_steps"] == 1234


def test_the_estimator_is_read_from_the_run_or_the_card(tmp_path):
    folder = save(tmp_path / "run/policy/best", "HalfCheetah-v5", horizon=2)
    assert record(load_policy(folder)).details["estimator"] is None
    (tmp_path / "run/config.yaml").write_text("estimator: gpes\n")
    assert record(load_policy(tmp_path / "run")).details["estimator"] == "gpes"
    (folder / "card.json").write_text('{"config": {"estimator": "pes"}}')
    assert record(load_policy(folder)).details["estimator"] == "pes"


def test_an_environment_without_a_model_is_photographed(tmp_path, dots):  # noqa: F811
    recording = record(load_policy(save_dots(tmp_path)))
    assert recording.model is None
    assert recording.images is not None
    assert (recording.images.shape, recording.images.dtype) == ((13, 31, 45, 3), np.uint8)
    lit = (recording.images[:, 0, :, 0] == 200).sum(axis=1)
    assert lit.tolist() == list(range(0, 39, 3))
    assert recording.qpos.shape == recording.qvel.shape == (13, 0)
    assert recording.dt == 0.1
    assert recording.details["episode_return"] == 6.0


def test_an_environment_that_cannot_be_photographed(tmp_path, dots, monkeypatch):  # noqa: F811
    policy = load_policy(save_dots(tmp_path))

    def without_pygame(self):
        raise gymnasium.error.DependencyNotInstalled("pygame is missing, run `pip install this`")

    monkeypatch.setattr(dots, "render", without_pygame)
    with pytest.raises(UserError, match="pip install this"):
        record(policy)
    monkeypatch.setattr(dots, "render", lambda self: None)
    with pytest.raises(UserError, match="draws no pictures"):
        record(policy)
    with pytest.raises(UserError, match=r"camera.*no MuJoCo model"):
        monkeypatch.undo()
        render(tmp_path, tmp_path / "x.mp4", camera="track")


@pytest.mark.parametrize(
    ("last", "dt", "fps", "usual", "rate", "start"),
    [
        (1000, 0.05, None, 60, 20, [0, 1, 2, 3]),  # HalfCheetah: every frame
        (1000, 0.008, None, 60, 125 / 3, [0, 3, 6, 9]),  # Hopper
        (1000, 0.015, None, 15, 1 / 0.075, [0, 5, 10, 15]),
        (50, 0.02, None, 50, 50, [0, 1, 2, 3]),
        (1000, 0.05, 10, 60, 10, [0, 2, 4, 6]),
        (1000, 0.05, 40, 60, 40, [0, 0, 1, 1, 2, 2]),
        (1000, 0.008, 30, 60, 30, [0, 4, 8, 12]),
        (1, 0.05, None, 60, 20, [0, 1]),
        (1, 0.05, 1, 60, 1, [0]),
    ],
)
def test_clips_play_in_real_time(last, dt, fps, usual, rate, start):
    frames, got = sample_frames(last, dt, fps, usual)
    assert got == pytest.approx(rate)
    assert frames[: len(start)] == start
    assert max(frames) <= last
    assert np.allclose(np.array(frames) * dt, np.arange(len(frames)) / got, atol=dt)
    assert last * dt - 1 / got < (len(frames) - 1) / got <= last * dt + 1e-9


def corners(model, pose):
    """The eight corners [G, 8, 3] of the box of every geom but planes, in the world."""
    import mujoco

    data = mujoco.MjData(model)
    data.qpos[:] = pose
    mujoco.mj_kinematics(model, data)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    solid = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
    local = model.geom_aabb[:, None, :3] + signs * model.geom_aabb[:, None, 3:]
    turned = np.einsum("gij,gkj->gki", data.geom_xmat.reshape(-1, 3, 3), local)
    return (turned + data.geom_xpos[:, None])[solid]


def on_screen(shot, frame, points, fovy, aspect):
    """Horizontal and vertical place of ``points`` [..., 3], -1 to 1 inside the picture."""
    elevation = np.radians(shot.elevation)
    forward = np.array([0, np.cos(elevation), np.sin(elevation)])  # azimuth 90
    up = np.array([0, -np.sin(elevation), np.cos(elevation)])
    away = points - (shot.lookat[frame] - shot.distance * forward)
    reach = (away @ forward) * np.tan(np.radians(fovy) / 2)
    return np.stack([away[..., 0] / reach / aspect, away @ up / reach], axis=-1)


@pytest.mark.parametrize("env_id", list(SIZES))
@pytest.mark.parametrize("aspect", [4 / 3, 9 / 16])
def test_the_camera_shows_the_whole_body(tmp_path, env_id, aspect):
    recording = record(load_policy(save(tmp_path, env_id, horizon=300, scale=2.0)))
    model, frames = recording.model, range(0, len(recording.qpos), 7)
    shot = plan_shot(model, recording.qpos, recording.dt, aspect)
    places = [
        np.abs(on_screen(shot, f, corners(model, recording.qpos[f]), 45.0, aspect)).max()
        for f in frames
    ]
    assert np.mean(np.array(places) < 1) > 0.95
    assert np.max(places) > 0.4  # nor is it tiny
    assert shot.elevation < 0


def test_the_camera_goes_along_and_does_not_bob(tmp_path):
    recording = record(load_policy(save(tmp_path, "HalfCheetah-v5", horizon=200)))
    runner = recording.qpos.copy()
    runner[:, 0] = np.linspace(0, 40, len(runner))  # runs 40 m
    shot = plan_shot(recording.model, runner, recording.dt, 4 / 3)
    assert np.ptp(shot.lookat[:, 2]) == 0
    assert np.all(np.diff(shot.lookat[20:-20, 0]) > 0.1)
    assert np.abs(shot.lookat[:, 0] - runner[:, 0]).max() < 3
    stays = plan_shot(recording.model, runner * 0, recording.dt, 4 / 3)
    assert np.ptp(stays.lookat, axis=0).max() == 0


def test_cameras_by_name(tmp_path):
    recording = record(load_policy(save(tmp_path, "HalfCheetah-v5", horizon=2)))
    assert plan_shot(recording.model, recording.qpos, 0.05, 1.3, "track").camera == 0
    with pytest.raises(UserError, match="unknown camera 'trak'; did you mean 'track'"):
        plan_shot(recording.model, recording.qpos, 0.05, 1.3, "trak")
    pendulum = record(load_policy(save(tmp_path / "p", "InvertedPendulum-v5", horizon=2)))
    with pytest.raises(UserError, match="'track': the model has none"):
        plan_shot(pendulum.model, pendulum.qpos, 0.04, 1.3, "track")


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


def test_a_page_and_what_is_printed(tmp_path, cheetah, capsys):
    out = tmp_path / "new" / "deep" / "x.html"
    assert cli.main(["render", str(cheetah), "--out", str(out), "--episode-seed", "5"]) == 0
    assert out.read_text().lower().startswith("<!doctype html>")
    assert [p.name for p in out.parent.iterdir()] == ["x.html"]
    mean = evaluate(cheetah, episodes=1, seed=5)["episode_return_mean"]
    printed = capsys.readouterr().out
    assert printed == (
        f"{out}: HalfCheetah-v5, episode seed 5, return {mean:.2f} in 20 env steps\n"
    )


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
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is Linux's")
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


def test_a_window_needs_a_display(cheetah, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cli.main(["render", str(cheetah), "--live"]) == 2
    assert "--live needs a display" in capsys.readouterr().err


def test_a_window_shows_the_episode_until_it_is_closed(cheetah, monkeypatch):
    """With MuJoCo's viewer replaced by one that is closed after one and a half episodes."""
    shown = []

    class Viewer:
        def __init__(self, model, data):
            import mujoco

            self.data, self.cam = data, mujoco.MjvCamera()

        def is_running(self):
            return len(shown) < 30

        def lock(self):
            return open(os.devnull)

        def sync(self):
            shown.append((self.data.qpos.copy(), self.cam.lookat.copy()))

    class Window(Viewer):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            shown.append(None)

    monkeypatch.setattr(live, "has_display", lambda: True)
    monkeypatch.setattr(live, "_window", Window)
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    details = live.watch(cheetah, episode_seed=2)
    recording = record(load_policy(cheetah), 2)
    assert details == recording.details
    assert shown.pop() is None
    assert len(shown) == 30
    expected = [*recording.qpos, *recording.qpos][:30]
    assert np.array_equal([qpos for qpos, _ in shown], expected)


def test_dots_is_not_left_behind():
    assert DOTS not in gymnasium.registry
