"""Gymnasium's MuJoCo tasks on MuJoCo's own batched C engine (`mujoco.batch.Batch`)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pes_rl.envs.packages import import_mujoco, silence_mujoco
from pes_rl.envs.simulator import Transition
from pes_rl.envs.task import Task
from pes_rl.policies.action import ActionSpec

mujoco = import_mujoco()  # simulating needs no OpenGL, whatever MUJOCO_GL asks for
Batch = importlib.import_module("mujoco.batch").Batch

_UNSTABLE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
    int(mujoco.mjtWarning.mjWARN_BADCTRL),
]


def load_model(task: Task) -> Any:
    """The task's ``mujoco.MjModel``, read from Gymnasium's assets without importing Gymnasium."""
    spec = importlib.util.find_spec("gymnasium")
    assert spec is not None and spec.submodule_search_locations
    assets = Path(spec.submodule_search_locations[0]) / "envs" / "mujoco" / "assets"
    silence_mujoco()
    return mujoco.MjModel.from_xml_path(os.fspath(assets / task.model_file))


class _Rows:
    """MjData fields of some of the particles, gathered when a task reads them."""

    def __init__(self, fields: dict[str, np.ndarray], rows: np.ndarray):
        self._fields, self._rows = fields, rows

    def __getattr__(self, name: str) -> np.ndarray:
        return self._fields[name][self._rows]


class _Constants:
    """The model as tasks read it: a field of MjModel costs a microsecond each time."""

    def __init__(self, model: Any):
        self._model = model
        self.opt = SimpleNamespace(timestep=model.opt.timestep)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        setattr(self, name, value)
        return value


class MujocoSimulator:
    """``num_particles`` copies of a task, stepped on ``num_threads`` threads.

    Results do not depend on the number of threads or on which rows are stepped together.
    """

    exact = True

    def __init__(self, task: Task, num_particles: int, num_threads: int = 1):
        self.task = task
        self.model = load_model(task)
        self._constants = _Constants(self.model)
        self.observation_size = task.observation_size
        low, high = self.model.actuator_ctrlrange.T
        self.action = ActionSpec("box", self.model.nu, tuple(low), tuple(high))
        # Contact forces are computed after the step, on data that only a persistent batch keeps.
        self._batch = Batch(
            self.model, num_particles, nthread=num_threads, persistent=task.contact_forces
        )
        self._batch.reset()
        names = {"qpos", "qvel", *task.fields} - {"cfrc_ext"}
        self._fields = {name: self._batch.bind(name) for name in names}
        if task.contact_forces:
            self._fields["cfrc_ext"] = np.zeros((num_particles, self.model.nbody, 6))
            self._scratch = mujoco.MjData(self.model)
        self._ctrl, self._warning = self._batch.bind("ctrl"), self._batch.warning
        self._all = np.arange(num_particles)
        self._everyone = SimpleNamespace(**self._fields)
        self._tracked = np.array(task.track(np, self._constants, self._everyone))

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``; observations [R, O]."""
        task = self.task
        uniforms = np.stack([rng.random(task.num_uniforms) for rng in rngs])
        normals = np.stack([rng.standard_normal(task.num_normals) for rng in rngs])
        return self.reset_to(rows, *task.reset(np, self._constants, uniforms, normals))

    def reset_to(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Start new episodes in ``rows`` at given positions and velocities."""
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._fields["qpos"][rows] = qpos
        self._fields["qvel"][rows] = qvel
        self._batch.forward(rows)
        self._warning[rows] = 0
        if self.task.contact_forces:
            self._fields["cfrc_ext"][rows] = 0
        data = _Rows(self._fields, rows)
        self._tracked[rows] = self.task.track(np, self._constants, data)
        return self.task.observe(np, self._constants, data)

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` by one env step."""
        task, model = self.task, self._constants
        everyone = len(rows) == len(self._all)
        self._advance(None if everyone else rows, action)
        if task.contact_forces:
            self._update_contact_forces(rows)
        data = self._everyone if everyone else _Rows(self._fields, rows)
        observation = task.observe(np, model, data)
        before = self._tracked if everyone else self._tracked[rows]
        reward, terminated = task.reward(np, model, before, data, action)
        after = task.track(np, model, data)
        if everyone:
            self._tracked = after
        else:
            self._tracked[rows] = after
        unstable = self._unstable(rows, observation)
        return Transition(observation, reward, terminated, unstable)

    def stretch(self, rows: np.ndarray, length: int) -> _Stretch | None:
        """Begin up to ``length`` env steps of ``rows``; None where an episode may end by itself."""
        return _Stretch(self, rows, length) if self.task.deferred else None

    def _advance(self, ids: np.ndarray | None, action: np.ndarray) -> None:
        """Physics of one env step, of all particles or of ``ids``."""
        if ids is None:
            self._ctrl[:] = action
        else:
            self._ctrl[ids] = action
        self._batch.step(ids, nstep=self.task.frame_skip)

    def _update_contact_forces(self, rows: np.ndarray) -> None:
        forces, scratch = self._fields["cfrc_ext"], self._scratch
        for row in rows:
            self._batch.get_data(row, scratch)
            mujoco.mj_rnePostConstraint(self.model, scratch)
            forces[row] = scratch.cfrc_ext

    def _unstable(self, rows: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """Rows that MuJoCo warned about (it resets them itself) or that observe non-finite numbers.

        A control that is not finite is among the warnings.
        """
        flat = observation.reshape(-1)
        if not np.count_nonzero(self._warning) and math.isfinite(flat.dot(flat)):
            return _none(len(rows))
        warned = self._warning[rows][:, _UNSTABLE, 1].any(axis=1)
        return warned | ~np.isfinite(observation).all(axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """Physics state rows, and what the next reward needs to know of the present state."""
        return {"physics": self._batch.state.copy(), "tracked": self._tracked.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self._batch.state[:] = state["physics"]
        self._tracked[:] = state["tracked"]


class _Stretch:
    """Env steps of some rows; what their rewards depend on is kept until they are asked for.

    Between two steps of the physics the caches are cold, and every array operation saved there
    counts several times over.
    """

    def __init__(self, simulator: MujocoSimulator, rows: np.ndarray, length: int):
        everyone = len(rows) == len(simulator._all)
        self._simulator, self._rows = simulator, rows
        self._start = simulator.state()
        self._ids = None if everyone else rows
        self._data = simulator._everyone if everyone else _Rows(simulator._fields, rows)
        self._kept = {
            name: np.empty((length, len(rows), *simulator._fields[name].shape[1:]))
            for name in simulator.task.deferred
        }
        self._actions: list[np.ndarray] = []

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step with actions [R, A]; observations [R, O]."""
        simulator, data = self._simulator, self._data
        simulator._advance(self._ids, action)
        for name, kept in self._kept.items():
            kept[len(self._actions)] = getattr(data, name)
        self._actions.append(action)
        self._seen = simulator.task.observe(np, simulator._constants, data)
        return self._seen

    def settle(self) -> np.ndarray | None:
        """Rewards [S, R] of the S steps taken, or None with all rows back at the beginning."""
        simulator, rows = self._simulator, self._rows
        # MuJoCo warns of a state that is not finite when it steps from it: only the last is left.
        if simulator._unstable(rows, self._seen).any():
            simulator.restore(self._start)
            simulator._warning[rows] = 0
            return None
        task, model = simulator.task, simulator._constants
        data = SimpleNamespace(**{k: v[: len(self._actions)] for k, v in self._kept.items()})
        tracked = task.track(np, model, data)
        before = np.concatenate((self._start["tracked"][None, rows], tracked[:-1]))
        reward, _ = task.reward(np, model, before, data, np.stack(self._actions))
        simulator._tracked[rows] = tracked[-1]
        return reward


@functools.lru_cache(maxsize=64)
def _none(count: int) -> Any:
    mask = np.zeros(count, bool)
    mask.flags.writeable = False
    return mask
