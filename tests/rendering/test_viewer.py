"""What the HTML page is told of an episode: its poses, shapes, view and details."""

from __future__ import annotations

import base64

import mujoco
import numpy as np
import pytest

from pes_rl.rendering import html, scene
from tests.tools.viewer_tools import (
    embedded,
    empty,
    general_episode,
    pictures,
    random_episode,
    recording,
    unpacked,
    world_poses,
)

SHOWN = ("HalfCheetah", "Ant", "Humanoid", "Reacher", "Pusher", "Swimmer", "InvertedPendulum")


def visible(model):
    return [g for g in range(model.ngeom) if model.geom_group[g] <= 2 and model.geom_rgba[g, 3] > 0]


@pytest.mark.parametrize("name", [*SHOWN, "general"])
def test_poses_are_those_of_mj_forward(name):
    episode = general_episode() if name == "general" else random_episode(name, 25)
    described = embedded(html.page(episode))["scene"]
    places, turns = world_poses(described, len(episode.qpos))
    data, shown = mujoco.MjData(episode.model), visible(episode.model)
    assert len(described["geoms"]) == len(shown)
    for frame, qpos in enumerate(episode.qpos):
        data.qpos[:] = qpos
        mujoco.mj_forward(episode.model, data)
        np.testing.assert_allclose(places[frame], data.geom_xpos[shown], atol=2e-6)
        xmat = data.geom_xmat[shown].reshape(-1, 3, 3)
        np.testing.assert_allclose(turns[frame], xmat, atol=2e-6)


def test_rewards_and_details_are_in_the_page():
    episode = random_episode("Swimmer", 30)
    data = embedded(html.page(episode))
    np.testing.assert_array_equal(unpacked(data["rewards"], 30, dtype="<f8"), episode.rewards)
    assert data["frames"] == 31
    assert data["dt"] == episode.dt
    assert ["Env steps", "2,000,000"] in data["details"]
    assert ["Episode seed", "1234"] in data["details"]


def test_details_in_reading_form():
    details = {"versions": {"mujoco": "3.17.0"}, "episode_return": 4812.34567, "estimator": None}
    rows = embedded(html.page(recording(None, *empty(), images=pictures(), **details)))["details"]
    assert ["Versions", "mujoco 3.17.0"] in rows
    assert ["Episode return", "4,812.35"] in rows
    assert "Estimator" not in dict(rows)


def test_what_is_drawn_of_a_general_model():
    """Every kind of geom with its size and colour; nothing that MuJoCo's viewers hide."""
    episode = general_episode()
    described = embedded(html.page(episode))["scene"]
    kinds = [geom["type"] for geom in described["geoms"]]
    assert kinds == [
        *("plane", "mesh", "cylinder", "mesh", "box", "mesh", "ellipsoid", "capsule", "sphere"),
    ]
    by_name = dict(zip([episode.model.geom(g).name for g in visible(episode.model)],
                       described["geoms"], strict=True))  # fmt: skip
    assert by_name["box"]["size"] == [0.1, 0.2, 0.3]
    np.testing.assert_allclose(by_name["box"]["color"], [0.2, 0.4, 0.6, 1], atol=1e-6)
    np.testing.assert_allclose(by_name["wedge"]["color"], [0.5, 0.2, 0.2, 1], atol=3e-3)
    np.testing.assert_allclose(by_name["egg"]["color"], [0, 1, 0, 0.5], atol=1e-6)
    assert by_name["post"]["body"] == -1


def test_meshes_and_height_fields_have_the_models_surface():
    episode = general_episode()
    model, described = episode.model, embedded(html.page(episode))["scene"]
    field, *solids = (
        {
            "vertices": unpacked(mesh["vertices"], -1, 3),
            "normals": unpacked(mesh["normals"], -1, 3),
            "faces": unpacked(mesh["faces"], -1, 3, dtype="<u4"),
        }
        for mesh in described["meshes"]
    )
    assert len(solids) == model.nmesh == 2
    for index, solid in enumerate(solids):
        faces = slice(model.mesh_faceadr[index], None), slice(None, model.mesh_facenum[index])
        corners, normals = (m[faces[0]][faces[1]] for m in (model.mesh_face, model.mesh_facenormal))
        vertices = model.mesh_vert[model.mesh_vertadr[index] :]
        np.testing.assert_array_equal(solid["vertices"][solid["faces"]], vertices[corners])
        directions = model.mesh_normal[model.mesh_normaladr[index] :]
        np.testing.assert_array_equal(solid["normals"][solid["faces"]], directions[normals])
        # Seen from outside, corners run counter-clockwise: three.js culls the others.
        a, b, c = np.moveaxis(vertices[corners], 1, 0)
        assert (np.einsum("ni,ni->n", np.cross(b - a, c - a), a + b + c) > 0).all()
    a, b, c = np.moveaxis(field["vertices"][field["faces"]], 1, 0)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert (field["normals"][:, 2] > 0).all()
    # MuJoCo's own ray, shot downwards, meets the height field at its vertices' heights.
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hills = model.geom("hills")
    for x, y, z in field["vertices"] * (0.999, 0.999, 1):  # just inside of the border
        start, down = np.array([x, y, 1]) + hills.pos, np.array([0.0, 0.0, -1.0])
        depth = mujoco.mj_rayHfield(model, data, hills.id, start, down, None)
        np.testing.assert_allclose(1 - depth, z, atol=2e-3)


def test_the_target_of_reacher_is_there():
    episode = random_episode("Reacher", 3)
    target = episode.model.geom("target")
    drawn = embedded(html.page(episode))["scene"]["geoms"][visible(episode.model).index(target.id)]
    assert drawn["type"] == "sphere"
    np.testing.assert_allclose(drawn["color"], target.rgba, atol=1e-6)


def test_the_camera_follows_only_what_travels():
    def view(episode):
        return embedded(html.page(episode))["scene"]["view"]

    reacher = view(random_episode("Reacher", 50))
    assert not reacher["follow"]
    # What is built around the arm is shown too: walls of radius 0.02, 0.3 from the middle.
    np.testing.assert_allclose(reacher["half"][:2], [0.32, 0.32], atol=1e-6)
    assert reacher["elevation"] > 45
    cheetah = random_episode("HalfCheetah", 40)
    cheetah.qpos[:, 0] = np.linspace(0, 8, 41)
    assert view(cheetah)["follow"]
    assert view(cheetah)["radius"] < 1.5
    assert view(cheetah)["elevation"] < 45
    track = unpacked(embedded(html.page(cheetah))["scene"]["track"], 41, 3)
    assert np.abs(track[:, 0] - cheetah.qpos[:, 0])[10:-10].max() < 0.5


def test_a_model_without_moving_parts_is_shown():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom size='1'/></worldbody></mujoco>"
    )
    described = embedded(html.page(recording(model, *empty())))["scene"]
    assert described["geoms"][0]["body"] == -1
    assert described["view"]["radius"] > 0


def test_frames_that_are_not_finite_repeat_the_one_before():
    episode = random_episode("HalfCheetah", 6)
    episode.qpos[3:5, 2] = np.nan
    described = embedded(html.page(episode))["scene"]
    poses = unpacked(described["poses"], 7, 7, 7)
    assert np.isfinite(poses).all()
    np.testing.assert_array_equal(poses[3], poses[2])
    np.testing.assert_array_equal(poses[4], poses[2])
    assert not np.array_equal(poses[5], poses[2])


def test_a_page_of_1000_humanoid_steps_is_small():
    assert len(html.page(random_episode("Humanoid", 1000))) < 1_300_000


def test_pack_is_little_endian_float32():
    assert scene.pack(np.array([1.0])) == base64.b64encode(b"\x00\x00\x80\x3f").decode()
