"""Environments as users write them: found as ``tests.tools.own_environments:NAME``."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

HERE = __name__
call, system = subprocess.call, os.system  # what a file may name but not have called


class Room(gymnasium.Env):
    """Hold 20 degrees by heating within [low, high]; what is lost is made up by their middle."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, low: float = -1.0, high: float = 1.0, dtype: str = "float32"):
        self.low, self.high = low, high
        self.action_space = Box(low, high, (1,), np.dtype(dtype).type)

    def _observe(self):
        return np.array([self.excess, self.outside])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.outside = 0, self.np_random.uniform(-0.5, 0.5)
        self.excess = self.np_random.normal(0, 2)
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        power = 2 * (float(action[0]) - self.low) / (self.high - self.low) - 1
        self.excess += power - self.outside + 0.1 * self.np_random.normal()
        self.steps += 1
        return self._observe(), -abs(self.excess), False, self.steps == 50, {}


class Goal(gymnasium.Env):
    """Walk to a goal on a grid; dict observations, two choices at a time."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 20}
    action_space = MultiDiscrete([3, 3])

    def __init__(self, size: int = 4, render_mode: str | None = None):
        self.size, self.render_mode = size, render_mode
        place = MultiDiscrete([size, size])
        wind = Tuple((Discrete(3, start=-1), Box(-1, 1, ())))
        self.observation_space = Dict(achieved=place, desired=place, wind=wind)

    def _observe(self):
        wind = (np.int64(0), np.float32(0.5))
        return {"achieved": self.place.copy(), "desired": self.goal.copy(), "wind": wind}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.integers(0, self.size, (2, 2))
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.place = np.clip(self.place + action - 1, 0, self.size - 1)
        distance = np.abs(self.place - self.goal).sum()
        return self._observe(), -float(distance), bool(distance == 0), False, {}

    def render(self):
        picture = np.zeros((8 * self.size, 8 * self.size, 3), np.uint8)
        for channel, (x, y) in enumerate((self.place, self.goal)):
            picture[8 * x : 8 * x + 8, 8 * y : 8 * y + 8, channel] = 255
        return picture


class Bits(gymnasium.Env):
    """Say what was seen; saves itself, since a lock keeps it from being copied."""

    observation_space = action_space = MultiBinary(4)

    def __init__(self):
        self.lock = threading.Lock()

    def _observe(self):
        self.bits = self.np_random.integers(0, 2, 4).astype(np.int8)
        return self.bits

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        reward = float((action == self.bits).sum())
        return self._observe(), reward, False, False, {}

    def save_state(self):
        return self.bits, self.np_random

    def load_state(self, state):
        self.bits, self._np_random = state


class Faulty(Room):
    """Breaks one rule or another."""

    opened = 0

    def __init__(self, fault: str = "", after: int = 3):
        super().__init__()
        self.fault, self.after = fault, after
        Faulty.opened += 1

    def __reduce__(self):
        raise TypeError("holds a device, of which there is no copy")

    def reset(self, *, seed=None, options=None):
        start = super().reset(seed=seed)
        return start[0] if self.fault == "no info" else start

    def _observe(self):
        seen = super()._observe()
        if self.fault == "unseen":
            return np.array([np.inf, 0])
        return seen[:1] if self.fault == "shape" else seen

    def step(self, action):
        observation, reward, *ends, info = super().step(action)
        if self.steps > self.after:
            if self.fault == "dies":
                os.kill(os.getpid(), 9)
            if self.fault == "raises":
                raise KeyError("sensor")
        if self.fault == "old":
            return observation, reward, False, info
        if self.fault == "global":
            reward += np.random.rand()  # noqa: NPY002
        reward = {"array": [reward], "none": None}.get(self.fault, reward)
        return observation, reward, *ends, info

    def close(self):
        Faulty.opened -= 1


def limited_goal(size: int = 4) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Goal(size), 20)


def limited_old() -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Faulty("old"), 5)


def timed(env: gymnasium.Env) -> gymnasium.Env:
    """A wrapper that needs to know the time limit."""
    return gymnasium.wrappers.TimeAwareObservation(gymnasium.wrappers.FlattenObservation(env))


gymnasium.register("OwnBits-v0", f"{HERE}:Bits", max_episode_steps=30)


def samples(space: gymnasium.Space, number: int = 20) -> list:
    """The same elements of a space each time."""
    space.seed(0)
    return [space.sample() for _ in range(number)]
