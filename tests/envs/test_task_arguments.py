"""Gymnasium's keyword arguments mean to a task what they mean to Gymnasium."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator

from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.tasks import MAKERS, TASKS, make_task, not_honoured
from pes_rl.envs.tasks.ant import BODIES
from pes_rl.errors import UserError
from tests.tools.oracle import EngineBackend, Trajectory, load_model, make_env, record, replay

# They change the model, or only pictures.
REFUSED = {"xml_file", "default_camera_config"}
# v5 takes the first and never uses it; the second shows in resets, see test_tasks.py.
WITHOUT_EFFECT_ON_STEPS = {"uph_cost_weight", "reset_noise_scale"}
# Narrow enough to matter, by Gymnasium's default.
RANGES = {
    (0.2, 1.0): (0.5, 0.9),
    (0.7, math.inf): (1.15, 1.3),
    (0.8, 2.0): (1.1, 1.3),
    (1.0, 2.0): (1.3, 1.45),
    (-0.2, 0.2): (-0.05, 0.1),
    (-1.0, 1.0): (-0.3, 0.6),
    (-100.0, 100.0): (-9.0, 7.0),
    (-math.inf, 10.0): (2.0, 6.0),
}


def official(name: str) -> dict:
    """Gymnasium's keyword arguments and defaults, but for what every MuJoCo environment takes."""
    creator = load_env_creator(gymnasium.spec(f"{name}-v5").entry_point)
    parameters = inspect.signature(creator).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def another(keyword: str, default):
    if keyword == "main_body":
        return "aux_2"
    if isinstance(default, tuple):
        return RANGES[default]
    return not default if isinstance(default, bool) else default + (default or 1)


def others(name: str) -> dict:
    return {k: another(k, v) for k, v in official(name).items() if k not in REFUSED}


NO_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}
CASES = [(name, {keyword: value}) for name in TASKS for keyword, value in others(name).items()]
CASES += [(name, others(name)) for name in TASKS]
CASES += [
    ("Ant", {"main_body": 9}),
    ("Ant", NO_FORCES),
    ("Humanoid", {**NO_FORCES, "contact_cost_range": (2.0, 6.0)}),
    ("Hopper", {"healthy_z_range": (-math.inf, 1.3), "healthy_angle_range": (-0.3, math.inf)}),
    ("HalfCheetah", {"exclude_current_positions_from_observation": False, "frame_skip": 1}),
]


def described(case) -> str:
    name, kwargs = case
    return f"{name}-{next(iter(kwargs)) if len(kwargs) == 1 else len(kwargs)}"


def from_json(name: str, kwargs: dict):
    return make_task(name, json.loads(json.dumps(kwargs)))


def paths_of(name: str, kwargs: dict) -> list[Trajectory]:
    env = make_env(TASKS[name], **kwargs)
    return [record(env, seed, 20, wild=seed % 2 == 1) for seed in range(4)]


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=map(described, CASES))
def test_steps_equal_gymnasiums(name, kwargs):
    """From resets and from wild states; and they are other steps than the default task's."""
    paths = paths_of(name, kwargs)
    task = from_json(name, kwargs)
    assert paths[0].observations.shape[1] == task.observation_size
    replay(EngineBackend(task, len(paths)), paths)
    if not kwargs.keys() <= WITHOUT_EFFECT_ON_STEPS:
        with pytest.raises(AssertionError):
            replay(EngineBackend(TASKS[name], len(paths)), paths)


@pytest.mark.parametrize("angle", [99.0, 101.0, -101.0])
def test_hoppers_state_range_binds_the_angle_too(angle):
    kwargs = {"healthy_angle_range": (-200.0, 200.0)}
    task, env = from_json("Hopper", kwargs), make_env(TASKS["Hopper"], **kwargs).unwrapped
    env.reset(seed=0)
    env.data.qpos[2] = angle
    assert task.is_healthy(np, env.data) == env.is_healthy == (abs(angle) < 100)


@pytest.mark.parametrize("name", TASKS)
def test_no_keyword_is_overlooked(name):
    theirs = official(name)
    assert set(not_honoured(name, theirs)) == REFUSED
    honoured = {keyword: value for keyword, value in theirs.items() if keyword not in REFUSED}
    assert MAKERS[name].__kwdefaults__ == honoured
    assert make_task(name, {}).observation_size == TASKS[name].observation_size


def test_ants_bodies_are_its_models():
    model = load_model(TASKS["Ant"])
    assert tuple(model.body(i).name for i in range(model.nbody)) == BODIES


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("Ant", NO_FORCES), ("Humanoid", NO_FORCES), ("Hopper", {"terminate_when_unhealthy": False})],
)
def test_stretches_have_the_bits_of_single_steps(name, kwargs):
    """Also of tasks that read contact forces or end unless they are told not to."""
    ahead, single = (MujocoSimulator(make_task(name, kwargs), 6) for _ in range(2))
    rows, rng = np.arange(6), np.random.default_rng(0)
    for simulator in (ahead, single):
        simulator.reset(rows, [np.random.default_rng(seed) for seed in rows])
    stretch = ahead.stretch(rows, 40)
    assert stretch.length == 40
    alive, taken = np.ones(6, bool), []
    while len(taken) < stretch.length:
        action = rng.uniform(*ahead.model.actuator_ctrlrange.T, (6, ahead.model.nu))
        action = action.astype(np.float32)
        observation, out = stretch.step(action), single.step(rows, action)
        np.testing.assert_array_equal(observation[alive], out.observation[alive])
        taken.append((alive, out))
        alive = alive & ~out.terminated
    gains = stretch.settle()
    for step, (lived, out) in enumerate(taken):
        np.testing.assert_array_equal(gains.reward[step, lived], out.reward[lived])
        np.testing.assert_array_equal(gains.terminated[step, lived], out.terminated[lived])
    assert alive.all() == (name == "Hopper")


@pytest.mark.parametrize(
    ("name", "keyword", "value", "words"),
    [
        ("Hopper", "healthy_z_range", [2, 1], "two numbers [low, high], low <= high, not [2, 1]"),
        ("Hopper", "healthy_z_range", [0, math.nan], "two numbers"),
        ("Hopper", "healthy_z_range", [0, 1, 2], "two numbers"),
        ("Hopper", "healthy_z_range", [False, 1], "two numbers"),
        ("Hopper", "healthy_z_range", "12", "two numbers"),
        ("Hopper", "healthy_reward", "1", "healthy_reward of Hopper must be a number, not '1'"),
        ("Hopper", "healthy_reward", True, "a number"),
        ("Hopper", "healthy_reward", math.inf, "a number"),
        ("Hopper", "healthy_reward", 10**400, "a number"),
        ("Hopper", "healthy_reward", None, "a number"),
        ("Hopper", "terminate_when_unhealthy", 0, "true or false, not 0"),
        ("Hopper", "reset_noise_scale", -0.1, "a number >= 0, not -0.1"),
        ("Hopper", "frame_skip", 0, "a positive whole number, not 0"),
        ("Hopper", "frame_skip", 4.0, "a positive whole number"),
        ("Hopper", "frame_skip", True, "a positive whole number"),
        ("Ant", "main_body", 14, "0 to 13 or one of world, torso, front_left_leg,"),
        ("Ant", "main_body", -1, "0 to 13"),
        ("Ant", "main_body", "", "0 to 13"),
        ("Hopper", "healthy_rewards", 1, "did you mean 'healthy_reward'?"),
        ("Reacher", "xml_file", "a.xml", "no keyword argument 'xml_file' here; use --engine gym"),
    ],
)
def test_values_that_are_refused(name, keyword, value, words):
    with pytest.raises(UserError) as caught:
        make_task(name, {keyword: value})
    message = str(caught.value)
    assert words in message and keyword in message and name in message and "\n" not in message


def test_tasks_are_made_with_the_standard_library_alone():
    program = """
import sys
from pes_rl.envs.tasks import make_task
make_task("Ant", {"main_body": "aux_1", "healthy_z_range": [0, 1]})
print(*{"numpy", "mujoco", "jax", "gymnasium"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
