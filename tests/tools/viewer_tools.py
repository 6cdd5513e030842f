"""Recordings and page parts for the tests of the HTML viewer."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import mujoco
import numpy as np

from pes_rl.envs.gymnasium_engine import make_env
from pes_rl.rendering.recording import Recording

# Every kind of geom, hidden ones, a material, a welded body, and two things that move freely.
MODEL_XML = """
<mujoco>
  <asset>
    <mesh name="pyramid" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
    <mesh name="wedge" vertex="0 0 0  1 0 0  0 1 0  0 0 1  1 0 1"/>
    <hfield name="hills" nrow="3" ncol="4" size="2 1.5 0.5 0.1"
      elevation="0 1 2 3  1 2 3 4  2 3 4 8"/>
    <texture name="red" type="2d" builtin="flat" rgb1="1 0.2 0.4" width="4" height="4"/>
    <material name="painted" texture="red" rgba="0.5 1 0.5 1"/>
    <material name="plain" rgba="0.2 0.4 0.6 1"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="9 9 1"/>
    <geom name="hills" type="hfield" hfield="hills" pos="0 0 -3"/>
    <geom name="post" type="cylinder" size=".1 .4" pos="1 2 .4" euler="20 30 40"/>
    <geom name="pyramid" type="mesh" mesh="pyramid" pos="-2 1 0"/>
    <body name="robot" pos="0 0 2">
      <freejoint/>
      <geom name="box" type="box" size=".1 .2 .3" material="plain"/>
      <geom name="wedge" type="mesh" mesh="wedge" pos=".5 0 0" material="painted"/>
      <geom name="collision" type="sphere" size=".4" group="3"/>
      <geom name="ghost" type="sphere" size=".4" rgba="1 0 0 0"/>
      <body name="bolted" pos="0 0 .5" euler="0 0 30">
        <geom name="egg" type="ellipsoid" size=".1 .2 .3" rgba="0 1 0 .5"/>
      </body>
      <body name="arm" pos=".2 0 0">
        <joint axis="0 1 0"/>
        <geom name="arm" type="capsule" fromto="0 0 0 .5 .1 .2" size=".04"/>
      </body>
    </body>
    <body name="ball" pos="3 0 1"><freejoint/><geom name="ball" type="sphere" size=".2"/></body>
  </worldbody>
</mujoco>
"""


def random_episode(name: str, steps: int, title: str | None = None) -> Recording:
    """Steps of a task under random actions, from one episode after another where they end."""
    with make_env(f"{name}-v5") as env:
        env.action_space.seed(1)
        env.reset(seed=1)
        simulation: Any = env.unwrapped
        frames, rewards = [simulation.data.qpos.copy()], []
        for _ in range(steps):
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            frames.append(simulation.data.qpos.copy())
            rewards.append(float(reward))
            if terminated or truncated:
                env.reset()
        return recording(simulation.model, np.array(frames), rewards, simulation.dt, title or name)


def general_episode(frames: int = 20) -> Recording:
    """``MODEL_XML`` falling and turning."""
    model = mujoco.MjModel.from_xml_string(MODEL_XML)
    data = mujoco.MjData(model)
    data.qvel[:] = np.linspace(-2, 2, model.nv)
    qpos = []
    for _ in range(frames):
        mujoco.mj_step(model, data, 10)
        qpos.append(data.qpos.copy())
    return recording(model, np.array(qpos), np.arange(frames - 1.0), 0.02, "General")


def photographed(images: np.ndarray) -> Recording:
    """Pictures [F, H, W, 3] of an environment without a model."""
    none = np.zeros((len(images), 0))
    return recording(None, none, np.ones(len(images) - 1), 0.1, "Pictures", images)


def recording(
    model: Any,
    qpos: np.ndarray,
    rewards: Any,
    dt: float,
    title: str = "Task",
    images: np.ndarray | None = None,
    **details: Any,
) -> Recording:
    told = {"environment": title, "episode_seed": 1234, "env_steps": 2_000_000, **details}
    return Recording(
        title=title,
        model=model,
        qpos=qpos,
        qvel=np.zeros((len(qpos), model.nv if model else 0)),
        mocap_pos=np.zeros((len(qpos), 0, 3)),
        mocap_quat=np.zeros((len(qpos), 0, 4)),
        rewards=np.asarray(rewards, float),
        dt=dt,
        images=images,
        details=told,
    )


def embedded(page: str) -> dict[str, Any]:
    """The data that a page carries."""
    found = re.findall(r'<script id="recording" type="application/json">(.*?)</script>', page, re.S)
    assert len(found) == 1
    return json.loads(found[0])


def unpacked(text: str, *shape: int, dtype: str = "<f4") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def rotation(quaternions):
    """Matrices [..., 3, 3] of unit quaternions w x y z, independently of MuJoCo's code."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, float), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def world_poses(described, frames):
    """Position [F, G, 3] and rotation [F, G, 3, 3] of every geom, as the page places it."""
    geoms = described["geoms"]
    bodies = max((geom["body"] for geom in geoms), default=-1) + 1
    poses = unpacked(described["poses"], frames, bodies, 7).astype(float)
    places, turns = [], []
    for geom in geoms:
        place, turn = np.array(geom["pos"]), rotation(geom["quat"])
        if geom["body"] < 0:
            place, turn = np.tile(place, (frames, 1)), np.tile(turn, (frames, 1, 1))
        else:
            pose = poses[:, geom["body"]]
            body = rotation(pose[:, 3:])
            place, turn = pose[:, :3] + body @ place, body @ turn
        places.append(place)
        turns.append(turn)
    return np.stack(places, axis=1), np.stack(turns, axis=1)


def empty() -> tuple[np.ndarray, list[float], float]:
    """Two frames of nothing, the reward between them, and the time it took."""
    return np.zeros((2, 0)), [1.0], 0.1


def pictures(frames: int = 2) -> np.ndarray:
    """Small black ones."""
    return np.zeros((frames, 4, 4, 3), np.uint8)
