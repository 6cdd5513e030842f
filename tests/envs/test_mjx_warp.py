"""MJX's Warp implementation, which runs on a CPU too: the same physics, contacts for everybody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from pes_rl.config import build_config
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.mjx_engine import PARITY, MjxTask
from pes_rl.envs.mjx_warp import all_at_once
from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.tasks import TASKS
from pes_rl.errors import UserError
from pes_rl.training.device import DeviceTrainer
from tests.envs.test_mjx_engine import difference
from tests.tools.toy_environment import point_mass


def test_only_the_function_for_all_particles_runs():
    def make(count):
        return lambda x, y: {"sum": x + y[:, None], "of": jnp.full(len(x), count)}

    one = all_at_once(make)
    x, y = jnp.arange(24.0).reshape(4, 2, 3), jnp.arange(2.0)
    out = jax.jit(jax.vmap(jax.vmap(one), (0, None)))(x, y)
    np.testing.assert_array_equal(out["sum"], x + y[None, :, None])
    np.testing.assert_array_equal(out["of"], np.full((4, 2), 8))
    alone = one(x[0, 0], y[1])
    np.testing.assert_array_equal(alone["sum"], x[0, 0] + 1)
    assert alone["of"] == 1


def one_env_step(name: str, num_pairs: int, steps: int) -> tuple[float, int]:
    """The largest difference of env steps from the C engine's, and the most contacts at a time.

    Both use Newton's solver, and each step starts from the same state.
    """
    engine, simulator = MjxTask(TASKS[name], "warp"), MujocoSimulator(TASKS[name], 2 * num_pairs)
    simulator.model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    rows, generator = np.arange(2 * num_pairs), np.random.default_rng(0)
    data, shape = mujoco.MjData(simulator.model), (num_pairs, 2)

    @jax.jit
    @jax.vmap
    @jax.vmap
    def step(qpos, qvel, action):
        state, observation = engine.reset_to(qpos, qvel)
        return observation, *engine.step(state, action)

    reset = jax.jit(jax.vmap(jax.vmap(engine.reset)))
    state, _ = reset(jax.random.split(jax.random.key(0), shape))
    low, high = simulator.model.actuator_ctrlrange.T
    worst, most = 0.0, 0
    for _ in range(steps):
        qpos, qvel = (np.asarray(x, np.float64).reshape(rows.size, -1) for x in state[:2])
        action = generator.uniform(low, high, (*shape, low.size)).astype(np.float32)
        start, state, out = step(state.qpos, state.qvel, action)
        first = simulator.reset_to(rows, qpos, qvel)
        theirs = simulator.step(rows, action.reshape(rows.size, -1))
        compared = (
            (start, first),
            (out.observation, theirs.observation),
            (out.reward, theirs.reward),
        )
        for ours, c in compared:
            worst = max(worst, difference(np.asarray(ours).reshape(c.shape), c))
        contacts = 0
        for data.qpos[:] in qpos:
            mujoco.mj_fwdPosition(simulator.model, data)
            contacts += data.ncon
        most = max(most, contacts)
    return worst, most


def test_warp_steps_as_the_c_engine_does():
    pytest.importorskip("warp")
    worst, contacts = one_env_step("HalfCheetah", 32, 16)
    assert worst < PARITY["HalfCheetah"].warp
    # More than the 48 for which Warp makes room by itself; without them bodies fall.
    assert contacts > 48


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_warp_steps_every_task_as_the_c_engine_does(name):
    pytest.importorskip("warp")
    assert one_env_step(name, 16, 16)[0] < PARITY[name].warp


@pytest.mark.parametrize(
    "name",
    ["Ant", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Hopper", "Humanoid"))],
)
def test_a_run_on_warp_is_the_same_twice_and_resumed(name):
    pytest.importorskip("warp")
    engine, size = MjxTask(TASKS[name], "warp"), TASKS[name].observation_size
    environment = JaxEnvironment(engine.reset, engine.step, size, engine.action)
    options = {"env": name, "engine": "mjx", "backend": "warp", "num_pairs": 4}
    options |= {"estimator": "es-single", "segment_length": 5, "horizon": 10, "eval_lanes": 2}
    trainer = DeviceTrainer(build_config({**options, "eval_every": 1}), environment=environment)
    saved, thetas, ends = [], [], []
    for begin in (0, 0, 2):  # the second time and the third from what was saved the first time
        if saved:
            trainer.restore(saved[begin])
        for _ in range(begin, 3):
            saved.append(trainer.state())
            trainer.advance()
        thetas.append(trainer.theta)
        ends.append(trainer.state())  # the lanes' states are in it
    np.testing.assert_array_equal(thetas[0], thetas[1])
    np.testing.assert_array_equal(thetas[0], thetas[2])
    for end in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, ends[0], end)
    assert np.abs(thetas[0]).max() > 0
    assert trainer.prediction.total < 10_000_000  # contacts of all are not counted for each


def test_warp_refuses_several_devices():
    config = build_config({"env": "Hopper", "engine": "mjx", "backend": "warp", "num_pairs": 4})
    two: Any = SimpleNamespace(size=2)
    with pytest.raises(UserError, match="runs on one device, not on 2"):
        DeviceTrainer(config, two, point_mass())
