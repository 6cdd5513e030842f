"""A recording is the episode that evaluate scores; clips keep time; cameras see the whole body."""

from __future__ import annotations

import dataclasses
import math
import os
import sys

import gymnasium
import numpy as np
import pytest

from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.evaluation import evaluate
from pes_rl.evaluation.official import Step
from pes_rl.rendering import live
from pes_rl.rendering.camera import plan_shot
from pes_rl.rendering.output import render, sample_frames
from pes_rl.rendering.recording import record
from pes_rl.storage.policy import load_policy
from tests.tools.rendering_tools import DOTS, SIZES, save, save_dots


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


def test_a_simulation_that_is_reset_does_not_set_the_clock_of_the_clip_back(tmp_path, monkeypatch):
    """As MuJoCo does when it becomes unstable."""
    import mujoco

    def unstable(policy, env, observation):
        for step in range(5):
            env.step(policy(observation))
            if step == 3:
                mujoco.mj_resetData(env.unwrapped.model, env.unwrapped.data)
            yield Step(0.0, False, math.nan)

    monkeypatch.setattr("pes_rl.evaluation.official.play", unstable)
    assert record(load_policy(save(tmp_path, "HalfCheetah-v5"))).dt == 0.05


def test_the_estimator_is_read_from_the_run_or_the_card(tmp_path):
    folder = save(tmp_path / "run/policy/best", "HalfCheetah-v5", horizon=2)
    assert record(load_policy(folder)).details["estimator"] is None
    (tmp_path / "run/config.yaml").write_text("estimator: gpes\n")
    assert record(load_policy(tmp_path / "run")).details["estimator"] == "gpes"
    (folder / "card.json").write_text('{"config": {"estimator": "pes"}}')
    assert record(load_policy(folder)).details["estimator"] == "pes"


def test_an_environment_without_a_model_is_photographed(tmp_path, dots):
    recording = record(load_policy(save_dots(tmp_path)))
    assert recording.model is None
    assert recording.images is not None
    assert (recording.images.shape, recording.images.dtype) == ((13, 31, 45, 3), np.uint8)
    lit = (recording.images[:, 0, :, 0] == 200).sum(axis=1)
    assert lit.tolist() == list(range(0, 39, 3))
    assert recording.qpos.shape == recording.qvel.shape == (13, 0)
    assert recording.dt == 0.1
    assert recording.details["episode_return"] == 6.0


def test_an_environment_that_cannot_be_photographed(tmp_path, dots, monkeypatch):
    policy = load_policy(save_dots(tmp_path))

    def without_pygame(self):
        raise gymnasium.error.DependencyNotInstalled("pygame is missing, run `pip install this`")

    monkeypatch.setattr(dots, "render", without_pygame)
    with pytest.raises(UserError, match="pip install this"):
        record(policy)
    monkeypatch.setattr(dots, "render", lambda self: None)
    with pytest.raises(UserError, match=r"its render\(\) returns None"):
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
    shot = plan_shot(recording, aspect)
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
    shot = plan_shot(dataclasses.replace(recording, qpos=runner), 4 / 3)
    assert np.ptp(shot.lookat[:, 2]) == 0
    assert np.all(np.diff(shot.lookat[20:-20, 0]) > 0.1)
    assert np.abs(shot.lookat[:, 0] - runner[:, 0]).max() < 3
    stays = plan_shot(dataclasses.replace(recording, qpos=runner * 0), 4 / 3)
    assert np.ptp(stays.lookat, axis=0).max() == 0


def test_cameras_by_name(tmp_path):
    recording = record(load_policy(save(tmp_path, "HalfCheetah-v5", horizon=2)))
    assert plan_shot(recording, 1.3, "track").camera == 0
    with pytest.raises(UserError, match="unknown camera 'trak'; did you mean 'track'"):
        plan_shot(recording, 1.3, "trak")
    pendulum = record(load_policy(save(tmp_path / "p", "InvertedPendulum-v5", horizon=2)))
    with pytest.raises(UserError, match="'track': the model has none"):
        plan_shot(pendulum, 1.3, "track")


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    return save(tmp_path_factory.mktemp("policy"), "HalfCheetah-v5", horizon=20)


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
