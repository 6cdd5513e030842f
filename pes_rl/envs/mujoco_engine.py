"""Gymnasium's MuJoCo tasks on MuJoCo's own batched C engine (`mujoco.batch.Batch`)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pes_rl.envs.packages import import_mujoco, silence_mujoco
from pes_rl.envs.simulator import Gains, SingleStep, Stretch, Transition
from pes_rl.envs.task import Task
from pes_rl.envs.tasks.common import Coordinates
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.observation import array_of

mujoco = import_mujoco()  # simulating needs no OpenGL, whatever MUJOCO_GL asks for
Batch = importlib.import_module("mujoco.batch").Batch

_STRETCH = 50  # env steps
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


def _coordinates(batch: Any, size: int) -> np.ndarray:
    """Positions and velocities [n, nq + nv], which lie side by side in a state's row."""
    state = batch.state
    offset = batch.bind("qpos").ctypes.data - state.ctypes.data
    first = offset // state.itemsize
    assert batch.bind("qvel").ctypes.data == batch.bind("qpos")[:, -1:].ctypes.data + state.itemsize
    return state[:, first : first + size]


def _limits(task: Task, model: Any) -> tuple[int, Any, Any] | None:
    """Where a task's observation begins in the coordinates, and its bounds [O] if it has any.

    None where it is not a part of the coordinates.
    """
    observe = task.observe
    if not isinstance(observe, Coordinates):
        return None
    if observe.bound == math.inf:
        return observe.first, None, None
    free, bounded = [math.inf] * (model.nq - observe.first), [observe.bound] * model.nv
    high = np.array(free + bounded)
    return observe.first, -high, high


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

    Results do not depend on the number of threads, on which rows are stepped together, or on how
    many steps are taken at a stretch.

    Attributes:
      task: what is simulated.
      model: its ``mujoco.MjModel``.
      constants: the fields of the model that tasks read.
      fields: MjData's fields by name, [n, ...], views of the batch.
      coordinates: [n, nq + nv] positions and velocities, a view of the batch.
      tracked: [n, k] what the next reward needs to know of the present state.
    """

    exact = True
    remarks: tuple[str, ...] = ()

    def __init__(self, task: Task, num_particles: int, num_threads: int = 1):
        self.task, self.num_particles = task, num_particles
        self.model = load_model(task)
        self.constants = _Constants(self.model)
        self.observation_size = task.observation_size
        self.observation = array_of((task.observation_size,))
        low, high = self.model.actuator_ctrlrange.T
        self.action = ActionSpec("box", self.model.nu, tuple(low), tuple(high))
        self.action_shape = self.action.shape
        # Contact forces are computed after the step, on data that only a persistent batch keeps.
        self.batch = Batch(
            self.model, num_particles, nthread=num_threads, persistent=task.contact_forces
        )
        self.batch.reset()
        names = {"qpos", "qvel", *task.fields} - {"cfrc_ext"}
        self.fields = {name: self.batch.bind(name) for name in names}
        if task.contact_forces:
            self.fields["cfrc_ext"] = np.zeros((num_particles, self.model.nbody, 6))
            self._scratch = mujoco.MjData(self.model)
        self.coordinates = _coordinates(self.batch, self.model.nq + self.model.nv)
        self._ctrl, self._warning = self.batch.bind("ctrl"), self.batch.warning
        self._limits = _limits(task, self.model)
        everyone = SimpleNamespace(**self.fields)
        self.tracked = np.array(task.track(np, self.constants, everyone))

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``; observations [R, O]."""
        task = self.task
        uniforms = np.stack([rng.random(task.num_uniforms) for rng in rngs])
        normals = np.stack([rng.standard_normal(task.num_normals) for rng in rngs])
        return self.reset_to(rows, *task.reset(np, self.constants, uniforms, normals))

    def reset_to(self, rows: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Start new episodes in ``rows`` at given positions and velocities."""
        self.batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.fields["qpos"][rows] = qpos
        self.fields["qvel"][rows] = qvel
        self.batch.forward(rows)
        self._warning[rows] = 0
        if self.task.contact_forces:
            self.fields["cfrc_ext"][rows] = 0
        data = _Rows(self.fields, rows)
        self.tracked[rows] = self.task.track(np, self.constants, data)
        return self.task.observe(np, self.constants, data)

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` by one env step."""
        task, model = self.task, self.constants
        live = np.zeros(self.num_particles, bool)
        live[rows] = True
        self.advance(rows, live, action)
        data = _Rows(self.fields, rows)
        observation = task.observe(np, model, data)
        reward, terminated = task.reward(np, model, self.tracked[rows], data, action)
        self.tracked[rows] = task.track(np, model, data)
        return Transition(observation, reward, terminated, self.unstable(rows, observation))

    def stretch(self, rows: np.ndarray, length: int) -> Stretch:
        """Begin at most ``length`` env steps of ``rows``."""
        if self.task.contact_forces:  # worked out row by row: nothing is saved
            return SingleStep(self, rows)
        return _Stretch(self, rows, min(length, _STRETCH))

    def advance(self, rows: np.ndarray, live: np.ndarray, action: np.ndarray) -> None:
        """Physics of one env step of the particles ``live`` [n]; ``rows`` get actions [R, A]."""
        if len(rows) == self.num_particles:
            self._ctrl[:] = action
        else:
            self._ctrl[rows] = action
        self.batch.step(live, nstep=self.task.frame_skip)
        if self.task.contact_forces:
            self._update_contact_forces(rows)

    def observe(self, coordinates: np.ndarray, data: Callable[[], Any]) -> np.ndarray:
        """Observations [R, O] at ``coordinates`` [R, nq + nv] and MjData fields ``data()``."""
        if self._limits is None:
            return self.task.observe(np, self.constants, data())
        first, low, high = self._limits
        seen = coordinates[:, first:]
        return seen if low is None else np.minimum(np.maximum(seen, low), high)

    def _update_contact_forces(self, rows: np.ndarray) -> None:
        forces, scratch = self.fields["cfrc_ext"], self._scratch
        for row in rows:
            self.batch.get_data(row, scratch)
            mujoco.mj_rnePostConstraint(self.model, scratch)
            forces[row] = scratch.cfrc_ext

    def unstable(self, rows: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """Rows that MuJoCo warned about (it resets them itself) or that observe non-finite numbers.

        A control that is not finite is among the warnings.
        """
        flat = observation.reshape(-1)
        if not np.count_nonzero(self._warning) and math.isfinite(flat.dot(flat)):
            return _none(len(rows))
        warned = self._warning[rows][:, _UNSTABLE, 1].any(axis=1)
        return warned | ~np.isfinite(observation).all(axis=1)

    def rewind(self, rows: np.ndarray, physics: np.ndarray, tracked: np.ndarray) -> None:
        """Put ``rows`` back to earlier states and forget what MuJoCo warned of since."""
        self.batch.state[rows] = physics
        self._warning[rows] = 0
        self.tracked[rows] = tracked

    def state(self) -> dict[str, np.ndarray]:
        """Physics state rows, and what the next reward needs to know of the present state."""
        return {"physics": self.batch.state.copy(), "tracked": self.tracked.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.batch.state[:] = state["physics"]
        self.tracked[:] = state["tracked"]

    def close(self) -> None:
        """Nothing: the batch goes with its last reference."""


class _Stretch:
    """Env steps of some rows; all that their gains depend on is kept until it is asked for.

    Between two steps of the physics the caches are cold, and every array operation saved there
    counts several times over. Rows whose episode has ended are not stepped on; the others' are,
    with all arrays as they are.
    """

    def __init__(self, simulator: MujocoSimulator, rows: np.ndarray, length: int):
        self.length = length
        self._simulator, self._rows = simulator, rows
        self._live, self._number = np.zeros(simulator.num_particles, bool), len(rows)
        self._live[rows] = True
        self._start, self._tracked = simulator.batch.state[rows], simulator.tracked[rows]
        shape = length, len(rows)
        self._coordinates = np.empty((*shape, simulator.coordinates.shape[1]))
        self._derived = {
            name: np.empty((*shape, *simulator.fields[name].shape[1:]))
            for name in simulator.task.fields
        }
        self._actions = np.empty((*shape, simulator.action.size), np.float32)
        self._taken = 0

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step with actions [R, A]; observations [R, O]."""
        simulator, rows, now = self._simulator, self._rows, self._taken
        everyone = len(rows) == simulator.num_particles
        simulator.advance(rows, self._live, action)
        self._coordinates[now] = simulator.coordinates if everyone else simulator.coordinates[rows]
        for name, kept in self._derived.items():
            kept[now] = simulator.fields[name] if everyone else simulator.fields[name][rows]
        self._actions[now] = action
        self._taken += 1
        if simulator.task.is_healthy is not None:
            self._leave_out(simulator.task.is_healthy(np, self._kept(now)))
        self._seen = simulator.observe(self._coordinates[now], lambda: self._kept(now))
        return self._seen

    def _leave_out(self, healthy: np.ndarray) -> None:
        """Step no longer those of the rows that are not ``healthy`` [R]; they stand still."""
        number = np.count_nonzero(healthy)
        if number < self._number:
            self._number, self._live[self._rows] = number, healthy
            self.length = self.length if number else self._taken

    def settle(self) -> Gains:
        """What the steps brought."""
        simulator, rows, taken = self._simulator, self._rows, self._taken
        task, model, data = simulator.task, simulator.constants, self._kept(slice(taken))
        tracked = task.track(np, model, data)
        before = np.concatenate((self._tracked[None], tracked[:-1]))
        reward, terminated = task.reward(np, model, before, data, self._actions[:taken])
        simulator.tracked[rows] = tracked[-1]
        gains = Gains(reward, terminated, np.zeros(reward.shape, bool))
        # MuJoCo warns of a state that is not finite when it steps from it: only the last is left.
        broken = simulator.unstable(rows, self._seen)
        if broken.any():
            self._again(np.flatnonzero(broken), gains)
        return gains

    def _kept(self, when: int | slice) -> SimpleNamespace:
        """MjData's fields after the step numbered ``when``, or after several."""
        positions, kept = self._simulator.model.nq, self._coordinates[when]
        derived = {name: field[when] for name, field in self._derived.items()}
        return SimpleNamespace(qpos=kept[..., :positions], qvel=kept[..., positions:], **derived)

    def _again(self, broken: np.ndarray, gains: Gains) -> None:
        """Replay the columns ``broken`` of ``gains`` one step at a time, to see where it was."""
        simulator, rows = self._simulator, self._rows[broken]
        simulator.rewind(rows, self._start[broken], self._tracked[broken])
        for now in range(self._taken):
            out = simulator.step(rows, self._actions[now, broken])
            gains.reward[now, broken] = out.reward
            gains.terminated[now, broken] = out.terminated
            gains.unstable[now, broken] = out.unstable


@functools.lru_cache(maxsize=64)
def _none(count: int) -> Any:
    mask = np.zeros(count, bool)
    mask.flags.writeable = False
    return mask
