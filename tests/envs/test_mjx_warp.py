"""MJX's Warp implementation, which runs on a CPU too: the same physics, contacts for everybody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.config import build_config
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.mjx_engine import MjxTask
from pes_rl.envs.mjx_warp import all_at_once
from pes_rl.envs.mujoco_engine import load_model
from pes_rl.envs.tasks import TASKS
from pes_rl.errors import UserError
from pes_rl.training.device import DeviceTrainer
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


def worst_differences(name: str, num_pairs: int, steps: int) -> tuple[float, int]:
    """The largest difference from the C engine of one env step, and the most contacts at a time."""
    import mujoco

    task = TASKS[name]
    engine, model = MjxTask(task, "warp"), load_model(task)
    data, generator = mujoco.MjData(model), np.random.default_rng(0)
    reset, step = (jax.jit(jax.vmap(jax.vmap(f))) for f in (engine.reset, engine.step))
    state, _ = reset(jax.random.split(jax.random.key(0), (num_pairs, 2)))
    worst, most = 0.0, 0
    for _ in range(steps):
        before: Any = jax.tree.map(np.asarray, state)
        low, high = model.actuator_ctrlrange.T
        action = generator.uniform(low, high, (num_pairs, 2, model.nu)).astype(np.float32)
        state, out = step(state, action)
        contacts = 0
        for i in np.ndindex(num_pairs, 2):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = before.qpos[i], before.qvel[i]
            data.qacc_warmstart[:], data.ctrl[:] = before.warmstart[i], action[i]
            mujoco.mj_step(model, data, task.frame_skip)
            contacts += data.ncon
            worst = max(worst, float(np.abs(data.qpos - state.qpos[i]).max()))
        most = max(most, contacts)
        assert np.isfinite(out.observation).all()
    return worst, most


def test_warp_steps_as_the_c_engine_does():
    pytest.importorskip("warp")
    worst, contacts = worst_differences("HalfCheetah", 32, 16)
    assert worst < 1e-4  # float32
    # More than the 48 for which Warp makes room by itself; without them bodies fall.
    assert contacts > 48


def test_a_run_on_warp_is_the_same_twice():
    pytest.importorskip("warp")
    engine = MjxTask(TASKS["Hopper"], "warp")
    environment = JaxEnvironment(engine.reset, engine.step, 11, engine.action)
    options = {"env": "Hopper", "engine": "mjx", "backend": "warp", "num_pairs": 4}
    options |= {"estimator": "es-single", "segment_length": 5, "horizon": 10}
    config = build_config({**options, "eval_every": 1})
    thetas = []
    for _ in range(2):
        trainer = DeviceTrainer(config, environment=environment)
        for _ in range(3):
            trainer.advance()
        thetas.append(trainer.theta)
    np.testing.assert_array_equal(*thetas)
    assert np.abs(thetas[0]).max() > 0
    assert trainer.prediction.total < 10_000_000  # contacts of all are not counted for each


def test_warp_refuses_several_devices():
    config = build_config({"env": "Hopper", "engine": "mjx", "backend": "warp", "num_pairs": 4})
    two: Any = SimpleNamespace(size=2)
    with pytest.raises(UserError, match="runs on one device, not on 2"):
        DeviceTrainer(config, two, point_mass())
