"""Environments as people write their first ones: some draw themselves, some have a MuJoCo model."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np

MODEL = """
<mujoco><worldbody>
  <site name="goal" size=".1"/>
  <site name="lamp" type="capsule" size=".05 .2" pos="0 0 2"/>
  <site name="collision" size=".1" group="3"/>
  <site name="nothing" size=".1" rgba="1 0 0 0"/>
  <body name="post" pos="1 0 0">
    <geom type="box" size=".1 .1 .4"/><site size=".05" pos="0 0 .4"/>
  </body>
  <body name="hand" mocap="true" pos="0 1 0">
    <geom type="box" size=".2 .1 .1" rgba="1 0 0 1"/>
    <body pos=".3 0 0"><site type="cylinder" size=".05 .1" euler="30 0 0" rgba="0 1 0 .5"/></body>
  </body>
  <body pos="0 0 1">
    <joint type="slide"/><geom size=".1"/>
    <body euler="0 0 40"><geom name="flap" type="capsule" size=".03 .1" pos=".2 0 0"/></body>
  </body>
</worldbody></mujoco>
"""


class Own(gymnasium.Env):
    """Does nothing, for ever."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = gymnasium.spaces.Box(-9, 9, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    count = 0

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(1, np.float32), 1.0, False, False, {}


class WithoutMode(Own):
    """A constructor that takes no mode."""

    def __init__(self):
        pass

    def render(self):
        return np.full((4, 6, 3), 7, np.uint8)


class Forgetful(WithoutMode):
    """A constructor that does not keep the mode which `render` then asks for."""

    def __init__(self, render_mode: str | None = None):
        pass

    def render(self):
        return super().render() if self.render_mode == "rgb_array" else None


class Simulated(Own):
    """Steps MuJoCo; its hand is a mocap body that goes along x and turns about z."""

    metadata: ClassVar = {"render_modes": []}

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode)
        self.load()

    def load(self):
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)

    def step(self, action):
        self.data.mocap_pos[0, 0] = 0.2 * (self.count + 1)
        turn = 0.1 * (self.count + 1)
        self.data.mocap_quat[0] = np.cos(turn), 0, 0, np.sin(turn)
        mujoco.mj_step(self.model, self.data)
        return super().step(action)


class Still(Simulated):
    """Time never passes."""

    def step(self, action):
        result = super().step(action)
        self.data.time = 0
        return result


class Half(Simulated):
    """Keeps its data somewhere else, and draws."""

    metadata = Own.metadata

    def load(self):
        super().load()
        self.elsewhere, self.data = self.data, None

    def step(self, action):
        return Own.step(self, action)

    def render(self):
        return np.zeros((4, 6, 3), np.uint8)


class Swapping(Simulated):
    """Another model in the middle of an episode."""

    def step(self, action):
        if self.count == 1:
            self.load()
        return super().step(action)


class Restless(Simulated):
    """A new model with a new goal for every episode, and things moved in the model at every step.

    ``seen`` is where its geoms and sites truly were, [F, N, 3], and how they were turned.
    """

    seen: ClassVar[list[tuple[np.ndarray, np.ndarray]]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        result = super().reset(seed=seed)
        self.load()
        self.model.site("goal").sameframe = 0  # or MuJoCo leaves it where its body is
        self.model.site("goal").pos = self.np_random.uniform(1, 2, 3)
        self.model.site("goal").rgba = 0, 0, 1, 1
        self.seen.clear()
        self.look()
        return result

    def step(self, action):
        self.model.site("lamp").pos[0] += 0.1
        self.model.body("post").pos[1] += 0.1
        self.model.geom("flap").quat = np.sqrt(
            [0.9 - 0.1 * self.count, 0, 0, 0.1 + 0.1 * self.count]
        )
        result = super().step(action)
        self.look()
        return result

    def look(self):
        mujoco.mj_kinematics(self.model, self.data)
        places, turns = (
            np.concatenate([getattr(self.data, f"{kind}_{part}") for kind in ("geom", "site")])
            for part in ("xpos", "xmat")
        )
        self.seen.append((places, turns.reshape(-1, 3, 3)))
