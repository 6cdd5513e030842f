"""Gymnasium as the oracle for the tasks: record it, then replay the record on a stepping backend.

A backend holds one copy of the task per lane. ``PlainBackend`` is the smallest one, on plain
``mujoco.MjData``, and ``EngineBackend`` the engine; any other is checked by giving ``replay`` its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import gymnasium
import gymnasium.envs.mujoco
import mujoco
import numpy as np

from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.task import Task

ASSETS = Path(gymnasium.envs.mujoco.__file__).parent / "assets"


class Backend(Protocol):
    """Steps n lanes of one task."""

    def reset(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Start all lanes from qpos [n, nq], qvel [n, nv]; observations [n, O]."""
        ...

    def step(
        self, action: np.ndarray, live: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One env step of the lanes in ``live`` [n] bool with actions [n, nu].

        Returns observations [n, O], rewards [n], terminated [n]; rows that are not live are never
        looked at.
        """
        ...


class PlainBackend:
    """One ``mujoco.MjData`` per lane, shown to the task as stacked arrays."""

    def __init__(self, task: Task, num_lanes: int):
        self.task = task
        self.model = load_model(task)
        self.lanes = [mujoco.MjData(self.model) for _ in range(num_lanes)]

    def stacked(self) -> SimpleNamespace:
        """Exactly the fields the task declares, [n, ...]."""
        names = ("qpos", "qvel", *self.task.fields)
        return SimpleNamespace(
            **{name: np.stack([getattr(lane, name) for lane in self.lanes]) for name in names}
        )

    def reset(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        for lane, position, velocity in zip(self.lanes, qpos, qvel, strict=True):
            mujoco.mj_resetData(self.model, lane)
            lane.qpos[:], lane.qvel[:] = position, velocity
            mujoco.mj_forward(self.model, lane)
        data = self.stacked()
        self.before = self.task.track(np, self.model, data)
        return self.task.observe(np, self.model, data)

    def step(
        self, action: np.ndarray, live: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        for index in np.flatnonzero(live):
            lane = self.lanes[index]
            lane.ctrl[:] = action[index]
            mujoco.mj_step(self.model, lane, nstep=self.task.frame_skip)
            if self.task.contact_forces:
                mujoco.mj_rnePostConstraint(self.model, lane)
        data = self.stacked()
        reward, terminated = self.task.reward(np, self.model, self.before, data, action)
        self.before = self.task.track(np, self.model, data)
        return self.task.observe(np, self.model, data), reward, terminated


class EngineBackend:
    """`MujocoSimulator`, stepping some of its rows at a time."""

    def __init__(self, task: Task, num_lanes: int):
        self.simulator = MujocoSimulator(task, num_lanes, num_threads=2)
        self.rows = np.arange(num_lanes)

    def reset(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        self.observation = self.simulator.reset_to(self.rows, qpos, qvel)
        return self.observation

    def step(
        self, action: np.ndarray, live: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.flatnonzero(live)
        out = self.simulator.step(rows, action[rows])
        assert not out.unstable.any()
        n = len(self.rows)
        result = np.zeros_like(self.observation), np.zeros(n), np.zeros(n, bool)
        for full, part in zip(result, out, strict=False):
            full[rows] = part
        return result


@dataclass(frozen=True)
class Trajectory:
    """What Gymnasium did from one start state: T steps, O observations, nu actuators."""

    qpos: np.ndarray  # [nq], the start
    qvel: np.ndarray  # [nv]
    actions: np.ndarray  # [T, nu]
    observations: np.ndarray  # [T + 1, O], the start's first
    rewards: np.ndarray  # [T]
    terminated: np.ndarray  # [T]


def load_model(task: Task) -> mujoco.MjModel:
    """The task's model, compiled anew."""
    return mujoco.MjModel.from_xml_path(str(ASSETS / task.model_file))


def make_env(task: Task, **kwargs: Any) -> gymnasium.Env:
    """The official environment."""
    return gymnasium.make(task.gymnasium_id, **kwargs)


def record(env: gymnasium.Env, seed: int, max_steps: int, wild: bool = False) -> Trajectory:
    """Run random actions until termination or ``max_steps``.

    ``wild`` perturbs the start by normal noise, 0.05 on positions and 5 on velocities, to reach
    clipped and unhealthy states that random actions from a reset do not.
    """
    rng = np.random.default_rng(seed)
    inner = env.unwrapped
    observation, _ = env.reset(seed=seed)
    if wild:
        qpos = inner.data.qpos + 0.05 * rng.standard_normal(inner.model.nq)
        qvel = inner.data.qvel + 5.0 * rng.standard_normal(inner.model.nv)
        mujoco.mj_resetData(inner.model, inner.data)
        inner.set_state(qpos, qvel)
        observation = inner._get_obs()
    qpos, qvel = inner.data.qpos.copy(), inner.data.qvel.copy()
    actions, observations, rewards, terminations = [], [observation], [], []
    for _ in range(max_steps):
        # Not float32, in which Gymnasium would compute the control cost too.
        action = rng.uniform(*inner.model.actuator_ctrlrange.T)
        observation, reward, terminated, _, _ = env.step(action)
        actions.append(action)
        observations.append(observation)
        rewards.append(reward)
        terminations.append(terminated)
        if terminated:
            break
    return Trajectory(
        qpos=qpos,
        qvel=qvel,
        actions=np.array(actions),
        observations=np.array(observations),
        rewards=np.array(rewards, dtype=float),
        terminated=np.array(terminations, dtype=bool),
    )


def replay(backend: Backend, trajectories: list[Trajectory], tolerance: float = 1e-9) -> None:
    """Assert that the backend, one lane per trajectory, does what Gymnasium did.

    Observations and rewards agree to |ours - theirs| <= tolerance * (1 + |theirs|), termination
    flags exactly. A lane is live until its trajectory ends.
    """

    def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=what)

    observation = backend.reset(
        np.stack([path.qpos for path in trajectories]),
        np.stack([path.qvel for path in trajectories]),
    )
    close(observation, np.stack([path.observations[0] for path in trajectories]), "reset")
    lengths = np.array([len(path.rewards) for path in trajectories])
    action = np.zeros((len(trajectories), trajectories[0].actions.shape[1]))
    for step in range(lengths.max()):
        live = step < lengths
        lanes = np.flatnonzero(live)
        for lane in lanes:
            action[lane] = trajectories[lane].actions[step]
        observation, reward, terminated = backend.step(action, live)
        paths = [trajectories[lane] for lane in lanes]
        where = f"step {step}, lanes {lanes}"
        close(observation[lanes], np.stack([p.observations[step + 1] for p in paths]), where)
        close(reward[lanes], np.array([p.rewards[step] for p in paths]), where)
        expected = np.array([p.terminated[step] for p in paths])
        np.testing.assert_array_equal(terminated[lanes], expected, err_msg=where)
