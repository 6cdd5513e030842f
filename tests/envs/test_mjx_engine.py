"""The tasks on MJX against the C engine, and which of them MJX refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from pes_rl.config import build_config
from pes_rl.envs.make import make_jax_environment
from pes_rl.envs.mjx_capsules import capsules_of_mujoco
from pes_rl.envs.mjx_engine import PARITY, MjxTask
from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.packages import import_quietly
from pes_rl.envs.registry import OFFICIAL, resolve
from pes_rl.envs.simulator import Transition
from pes_rl.envs.tasks import TASKS
from pes_rl.errors import UserError
from pes_rl.runs.ends import opening
from pes_rl.runtime import one_xla_thread

one_xla_thread()

NUM_STARTS, NUM_STEPS = 8, 10
# Compiling a task takes half a minute of one core, so all but the cheapest are slow tests.
_SLOW = [name for name, parity in PARITY.items() if parity.tolerance and name != "InvertedPendulum"]
comparable = pytest.mark.parametrize(
    "name", ["InvertedPendulum", *(pytest.param(name, marks=pytest.mark.slow) for name in _SLOW)]
)


class Play(NamedTuple):
    """The same L episodes on both engines: start states, actions [S, L, A], and what came out."""

    qpos: np.ndarray
    qvel: np.ndarray
    actions: np.ndarray
    start: np.ndarray
    steps: list[Transition]


def play_in_c(name: str, lanes: int, steps: int, lift: float = 0.0) -> Play:
    """Random actions from random resets, ``lift`` metres higher, with the C engine."""
    task, rows = TASKS[name], np.arange(lanes)
    simulator = MujocoSimulator(task, lanes)
    rng = np.random.default_rng(0)
    uniforms = rng.random((lanes, task.num_uniforms))
    normals = rng.standard_normal((lanes, task.num_normals))
    qpos, qvel = task.reset(np, simulator.model, uniforms, normals)
    qpos[:, 2:3] += lift
    low, high = simulator.model.actuator_ctrlrange.T
    actions = rng.uniform(low, high, (steps, lanes, low.size))
    start = simulator.reset_to(rows, qpos, qvel)
    return Play(qpos, qvel, actions, start, [simulator.step(rows, a) for a in actions])


def play_in_mjx(engine: MjxTask, play: Play) -> tuple[Any, Any]:
    """First observations [L, O] and transitions [L, S, ...], as NumPy arrays."""

    def one(qpos, qvel, actions):
        state, observation = engine.reset_to(qpos, qvel)
        return observation, jax.lax.scan(engine.step, state, actions)[1]

    played = jax.jit(jax.vmap(one, (0, 0, 1)))(play.qpos, play.qvel, play.actions)
    return jax.tree.map(np.asarray, played)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.max(np.abs(ours - theirs) / (1 + np.abs(theirs))))


@comparable
def test_mjx_steps_as_the_c_engine(name):
    """Float64, random actions, step by step, also after the task's own end."""
    play = play_in_c(name, NUM_STARTS, NUM_STEPS)
    with jax.enable_x64(True):
        start, out = play_in_mjx(MjxTask(TASKS[name]), play)
    tolerance = PARITY[name].tolerance
    assert difference(start, play.start) <= tolerance
    for step, theirs in enumerate(play.steps):
        assert difference(out.observation[:, step], theirs.observation) <= tolerance, step
        assert difference(out.reward[:, step], theirs.reward) <= tolerance, step
        np.testing.assert_array_equal(out.terminated[:, step], theirs.terminated)
    if name == "InvertedPendulum":
        ended = np.array([step.terminated for step in play.steps])
        assert ended.any() and not ended.all()


def test_halfcheetah_in_production_precision():
    """Float32: resets are the task's own, and three steps are the C engine's to 2e-4."""
    environment = make_jax_environment(resolve("HalfCheetah"), "mjx")
    keys = jax.random.split(jax.random.key(0), 64)
    state, observation = jax.jit(jax.vmap(environment.reset))(keys)
    assert observation.dtype == jnp.float32
    qpos, qvel = np.asarray(state.qpos, np.float64), np.asarray(state.qvel, np.float64)
    assert 0.09 < np.abs(qpos).max() <= 0.1 and 0.08 < qvel.std() < 0.12

    simulator, rows = MujocoSimulator(TASKS["HalfCheetah"], 64), np.arange(64)
    assert difference(observation, simulator.reset_to(rows, qpos, qvel)) < 1e-6
    step = jax.jit(jax.vmap(environment.step))
    for action in np.random.default_rng(0).uniform(-1, 1, (3, 64, 6)).astype(np.float32):
        before = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
        state, out = step(state, action)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == before
        theirs = simulator.step(rows, action)
        assert difference(out.observation, theirs.observation) < 2e-4
        assert difference(out.reward, theirs.reward) < 2e-4
        assert not out.terminated.any()


def test_capsules_touch_planes_as_in_c_at_every_angle():
    """Contact frames say where friction pyramids stand; those of MJX are turned when steep."""
    capsules = "".join(
        f'<body pos="{x} 0 0"><joint type="ball"/><geom type="capsule" size=".1 .2"/></body>'
        for x in range(8)
    )
    floor = '<geom type="plane" size="9 9 1"/>'
    text = f"<mujoco><worldbody>{floor}{capsules}</worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    data.qpos[:] = np.random.default_rng(0).normal(size=model.nq)
    mujoco.mj_forward(model, data)
    theirs = {tuple(contact.geom): contact.frame.reshape(3, 3) for contact in data.contact}
    mjx = import_quietly("mujoco.mjx")

    def worst() -> float:
        def touch(qpos):
            placed = mjx.kinematics(on_device, mjx.make_data(model).replace(qpos=qpos))
            contact = mjx.collision(on_device, placed)._impl.contact
            return contact.geom, contact.frame

        pairs = zip(*map(np.asarray, jax.jit(touch)(data.qpos)), strict=True)
        both = [(frame, theirs[tuple(geom)]) for geom, frame in pairs if tuple(geom) in theirs]
        assert len(both) == 16
        return max(np.abs(ours - c).max() for ours, c in both)

    with jax.enable_x64(True):
        on_device = mjx.put_model(model)
        with capsules_of_mujoco():
            assert worst() < 1e-12
        assert worst() > 0.1  # for others in the process all is as it was


@pytest.mark.slow
def test_humanoid_with_newtons_solver_gives_finite_numbers():
    play = play_in_c("Humanoid", 2, 2)
    start, out = play_in_mjx(MjxTask(TASKS["Humanoid"], "newton"), play)
    assert difference(start, play.start) < 1e-3
    assert np.isfinite(out.observation).all() and np.isfinite(out.reward).all()


# --- what can be asked for ------------------------------------------------------------------------


def test_every_task_has_a_parity_and_a_backend():
    assert set(PARITY) == set(TASKS) == set(OFFICIAL)
    for name, parity in PARITY.items():
        assert (parity.tolerance is None) == bool(parity.note)
        assert "mjx" in OFFICIAL[name].engines
        assert ("newton" in OFFICIAL[name].backends["mjx"]) == (parity.tolerance is None)
        assert "warp" in OFFICIAL[name].backends["mjx"]


@pytest.mark.parametrize("name", ["Humanoid", "HumanoidStandup"])
def test_another_solver_has_to_be_asked_for(name):
    with pytest.raises(UserError, match=r"PGS.*--backend newton or warp, .*--engine mujoco"):
        build_config({"env": name, "engine": "mjx"})
    for backend in ("newton", "warp"):
        config = build_config({"env": name, "engine": "mjx", "backend": backend})
        assert config.backend == backend
        assert "mjx, Newton's solver in place of PGS" in opening(config, 1, 0, Path("run"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "mjx", "backend": "spring"}, "use --backend jax or warp"),
        ({"engine": "mjx", "backend": "wrap"}, "did you mean 'warp'?"),
        ({"engine": "mjx", "backend": "newton"}, "no backend 'newton'"),
        ({"backend": "jax"}, "backend jax has no effect with engine 'mujoco'"),
        ({"engine": "brax"}, "did you mean 'brax/halfcheetah'?"),
        ({"engine": "mjxx"}, "did you mean 'mjx'?"),
    ],
)
def test_backends_that_are_refused(options, words):
    with pytest.raises(UserError) as caught:
        build_config({"env": "HalfCheetah", **options})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_default_backend():
    assert build_config({"env": "HalfCheetah", "engine": "mjx"}).backend == "jax"
    assert build_config({"env": "HalfCheetah"}).backend is None


@pytest.mark.parametrize(
    ("device", "words"),
    [("gpu", "pip install -c constraints.txt '.[warp]'"), ("cpu", "NVIDIA GPU")],
)
def test_warp_says_what_is_missing(device, words, monkeypatch):
    monkeypatch.setattr("pes_rl.envs.mjx_warp.find_spec", lambda name: None)
    monkeypatch.setattr("jax.default_backend", lambda: device)
    with pytest.raises(UserError) as caught:
        make_jax_environment(resolve("HalfCheetah"), "mjx", "warp")
    assert words in str(caught.value) and "--backend jax" in str(caught.value)


def test_importing_mjx_prints_nothing(capsys):
    MjxTask(TASKS["InvertedPendulum"])
    assert capsys.readouterr() == ("", "")
