"""One's own environments are drawn as they are, or one line says what they lack."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.rendering import html, live
from pes_rl.rendering.camera import plan_shot
from pes_rl.rendering.offscreen import pictures
from pes_rl.rendering.recording import Recording, record
from pes_rl.storage.policy import load_policy
from tests.tools.drawn_environments import (
    Forgetful,
    Half,
    Own,
    Restless,
    Simulated,
    Still,
    Swapping,
    WithoutMode,
)
from tests.tools.rendering_tools import DOTS, save_dots
from tests.tools.viewer_tools import embedded, unpacked, world_poses
from tests.tools.viewer_tools import recording as recording_of

STEPS = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """``recorded(kind, **attributes)``: an episode of an environment, by one policy for all."""
    policy = load_policy(save_dots(tmp_path_factory.mktemp("policy"), STEPS))

    def play(kind: type[Own], **attributes: Any) -> Recording:
        gymnasium.register(DOTS, type(kind.__name__, (kind,), attributes))
        try:
            return record(policy, 3)
        finally:
            del gymnasium.registry[DOTS]

    return play


# -- pictures --------------------------------------------------------------------------------

RGB = np.arange(0, 240, 5, np.uint8).reshape(4, 4, 3)
GREY = np.array([[0, 51], [102, 255]], np.uint8)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (RGB, RGB),
        (np.dstack([RGB, np.zeros((4, 4), np.uint8)]), RGB),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (RGB.astype(int), RGB),
        (RGB.astype(np.float32), RGB),
        (RGB / 255, RGB),
        (GREY.astype(np.float32) / 255, np.dstack([GREY] * 3)),
        (GREY > 99, np.dstack([255 * (GREY > 99)] * 3)),
        (np.array([[np.nan, -0.5], [1.01, 0.2]]), np.dstack([[[0, 0], [255, 51]]] * 3)),
        (RGB.tolist(), RGB),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else "list",
)
def test_pictures_of_every_form(recorded, drawn, expected):
    recording = recorded(Own, render=lambda self: drawn)
    assert recording.images.dtype == np.uint8
    assert np.array_equal(recording.images, [expected] * (STEPS + 1))
    assert recording.dt == 1 / 20
    assert recording.qpos.shape == (STEPS + 1, 0)


@pytest.mark.parametrize("kind", [WithoutMode, Forgetful])
def test_constructors_that_ignore_the_mode(recorded, kind):
    assert (recorded(kind).images == 7).all()


def fails(self):
    raise ValueError("no screen")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"metadata": {}}, r"render modes \[\] lack 'rgb_array'"),
        ({"metadata": {"render_modes": []}}, r"render modes \[\] lack 'rgb_array'"),
        ({"metadata": {"render_modes": ["human"]}}, r"render modes \['human'\] lack 'rgb_array'"),
        ({}, "render.. raises NotImplementedError"),
        ({"render": fails}, "render.. raises ValueError no screen"),
        ({"render": lambda self, mode: RGB}, "render.. raises TypeError .*'mode'"),
        ({"render": lambda self: None}, "render.. returns None; in mode 'rgb_array' return an"),
        ({"render": lambda self: RGB[..., :2]}, r"render.. returns ndarray of shape \(4, 4, 2\)"),
        ({"render": lambda self: RGB[:0]}, r"render.. returns ndarray of shape \(0, 4, 3\)"),
        ({"render": lambda self: "RGB"}, "render.. returns str;"),
        ({"render": lambda self: [[1], [1, 2]]}, "render.. returns list;"),
    ],
)
def test_what_is_missing_is_told_in_one_line(recorded, attributes, problem):
    with pytest.raises(UserError, match=f"cannot draw {DOTS}.*{problem}") as told:
        recorded(Own, **attributes)
    assert "\n" not in str(told.value)


# -- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "dt"),
    [
        ({"dt": 0.25, "metadata": {"render_fps": 50}}, 0.25),
        ({"dt": 0.0, "metadata": {"render_fps": 50}}, 0.02),
        ({"dt": np.inf, "metadata": {"render_fps": 50}}, 0.02),
        ({"dt": lambda self: 0.25, "metadata": {"render_fps": None}}, 1 / 30),
        ({}, 1 / 30),
    ],
)
def test_a_clock_that_stands_still(recorded, attributes, dt):
    assert recorded(Simulated, **attributes).dt == 0.002
    assert recorded(Still, **attributes).dt == dt


def test_a_model_without_its_data_is_photographed(recorded):
    recording = recorded(Half)
    assert recording.model is None
    assert recording.images.shape == (STEPS + 1, 4, 6, 3)


def test_another_model_within_an_episode_is_refused(recorded):
    with pytest.raises(UserError, match=r"replaces its MuJoCo model.*in reset\(\) alone"):
        recorded(Swapping)


def test_everything_is_where_the_environment_had_it(recorded):
    """Mocap bodies and what they carry, sites, and what was moved in the model."""
    recording = recorded(Restless)
    model, copied = recording.model, copy.copy(recording.model)
    hidden = {model.ngeom + model.site(name).id for name in ("collision", "nothing")}
    shown = [n for n in range(model.ngeom + model.nsite) if n not in hidden]
    scene = embedded(html.page(recording))["scene"]
    places, turns = world_poses(scene, STEPS + 1)
    data = mujoco.MjData(copied)
    assert len(Restless.seen) == STEPS + 1
    for frame, (true_places, true_turns) in enumerate(Restless.seen):
        np.testing.assert_allclose(places[frame], true_places[shown], atol=2e-6)
        np.testing.assert_allclose(turns[frame], true_turns[shown], atol=2e-6)
        recording.pose(frame, copied, data)
        mujoco.mj_kinematics(copied, data)
        xpos = np.concatenate([data.geom_xpos, data.site_xpos])
        np.testing.assert_allclose(xpos, true_places, atol=1e-12)
    assert set(recording.moved) == {"body_pos", "geom_quat", "site_pos"}
    assert model.site("lamp").pos[0] == 0  # as the reset left it
    goal, lamp = (scene["geoms"][shown.index(model.ngeom + model.site(name).id)]
                  for name in ("goal", "lamp"))  # fmt: skip
    assert (goal["type"], goal["color"], goal["body"]) == ("sphere", [0, 0, 1, 1], -1)
    assert (lamp["type"], lamp["size"][:2]) == ("capsule", [0.05, 0.2])


def test_views_show_goals_but_not_what_was_put_out_of_sight(recorded):
    def half_and_distance(**places):
        recording = recorded(Simulated)
        for name, place in places.items():
            recording.model.site(name).sameframe = 0
            recording.model.site(name).pos = place
        view = embedded(html.page(recording))["scene"]["view"]
        return view["half"][0], plan_shot(recording, 1).distance

    usual = half_and_distance()
    nearby = half_and_distance(goal=(3, 0, 0))
    assert min(np.divide(nearby, usual)) > 1.05
    hidden = half_and_distance(goal=(0, 0, -1000))
    assert max(np.divide(hidden, usual)) < 1.05


def test_the_page_follows_what_has_joints_rather_than_the_heavier_hand(recorded):
    scene = embedded(html.page(recorded(Simulated)))["scene"]
    np.testing.assert_allclose(np.ptp(unpacked(scene["track"], -1, 3), axis=0), 0, atol=0.01)


@pytest.mark.opengl
def test_pictures_show_what_the_environment_moves(recorded):
    first, last = (
        np.nonzero(picture[..., 0] > 1.5 * picture[..., 1].astype(float))[1].mean()
        for picture in pictures(recorded(Simulated), [0, STEPS], 160, 120)
    )
    assert last > first + 10  # the red hand goes to the right


@pytest.mark.opengl
def test_pictures_reach_as_far_as_the_motion():
    """Much further than MuJoCo looks in a model that is small at first."""
    ball = "<body mocap='true'><geom size='.3' rgba='1 0 0 1'/></body>"
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{2 * ball}</worldbody></mujoco>")
    apart = dataclasses.replace(
        recording_of(model, np.zeros((3, 0)), np.zeros(2), 0.1),
        mocap_pos=np.tile([[-20.0, 0, 0], [20, 0, 0]], (3, 1, 1)),
        mocap_quat=np.tile([1.0, 0, 0, 0], (3, 2, 1)),
    )
    picture = next(pictures(apart, [1], 320, 240)).astype(int)
    red = np.nonzero(picture[..., 0] > 1.5 * picture[..., 1])[1]
    assert (red.min() < 40, red.max() > 280, len(red) < 200) == (True, True, True)


def test_a_window_shows_what_the_environment_moves(recorded, monkeypatch):
    recording, shown = recorded(Restless), []

    @contextlib.contextmanager
    def window(model, data):
        class Viewer:
            cam, lock = mujoco.MjvCamera(), contextlib.nullcontext

            def is_running(self):
                return len(shown) <= STEPS

            def sync(self):
                shown.append((data.geom_xpos.copy(), data.site_xpos.copy()))

        yield Viewer()

    monkeypatch.setattr(live, "_window", window)
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    live._show(recording, plan_shot(recording, 4 / 3))
    for places, (true_places, _) in zip(shown, Restless.seen, strict=True):
        np.testing.assert_allclose(np.concatenate(places), true_places, atol=1e-12)
