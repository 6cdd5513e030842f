"""Other people's environments: how they are named, what they may be, what is said of faults."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pes_rl
from pes_rl import cli
from pes_rl.config import build_config, load_config
from pes_rl.envs.gymnasium_engine import GymnasiumSimulator
from pes_rl.envs.gymnasium_make import make_env
from pes_rl.envs.registry import resolve
from pes_rl.envs.saving import load, save
from pes_rl.errors import UserError
from pes_rl.evaluation.official import play_official
from pes_rl.evaluation.versions import version_changes
from tests.tools.own_environments import HERE, Bits, Faulty, Goal, Room, limited_goal, samples
from tests.tools.run_tools import SMALL, arrays, resume, rows, train

ROOT = Path(__file__).parents[2]
ROOM = f"--env {HERE}:Room {SMALL} --horizon 40"


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 2000, "float32"), (5, 35, "float32"), (-10, 10, "float64"), (-1e-3, 1e-3, "float64")],
)
def test_bounds_of_actions_do_not_matter(tmp_path, low, high, dtype):
    """What is learnt in [low, high] is what is learnt in [-1, 1], up to rounding."""
    options = {"num_env_steps": 2000, "num_pairs": 2, "horizon": 40, "num_threads": 1}
    thetas = [
        pes_rl.train(
            Room, run_dir=tmp_path / str(i), env_kwargs=kwargs, eval_every=2000, **options
        ).policy.theta
        for i, kwargs in enumerate([{}, {"low": low, "high": high, "dtype": dtype}])
    ]
    np.testing.assert_allclose(*thetas, rtol=1e-2, atol=1e-5)
    assert np.abs(thetas[0]).max() > 1e-4


def test_a_dict_environment_from_training_to_a_page(tmp_path, capsys):
    flags = f"--env {HERE}:limited_goal {SMALL.replace('--horizon 40', '--horizon 20')}"
    assert (
        cli.main(
            ["train", *flags.split(), "--env-kwargs", '{"size": 3}', "--run-dir", f"{tmp_path}/run"]
        )
        == 0
    )
    config = load_config(tmp_path / "run" / "config.yaml")
    assert config.env_kwargs == {"size": 3} and config.episode_length == 20
    policy = pes_rl.load_policy(tmp_path / "run")
    assert policy.environment["kwargs"] == {"size": 3}
    seen = samples(Goal(3).observation_space, 5)
    single = [policy(observation) for observation in seen]
    stacked = {key: np.stack([s[key] for s in seen]) for key in ("achieved", "desired")}
    stacked["wind"] = tuple(np.stack([s["wind"][i] for s in seen]) for i in (0, 1))
    np.testing.assert_array_equal(policy(stacked), single)
    with pytest.raises(UserError, match="expected a dict of 'achieved'"):
        policy({"achieved": np.zeros(2)})
    result = pes_rl.evaluate(tmp_path / "run", episodes=3)
    assert result["environment"] == f"{HERE}:limited_goal"
    other = replace(policy, environment=policy.environment | {"kwargs": {"size": 4}})
    with pytest.raises(UserError, match="has changed since the policy was trained: its obs"):
        play_official(other, 1, 0)
    longer = replace(policy, environment=policy.environment | {"horizon": 10})
    assert version_changes(longer) == ["time limit 10 -> 20"]
    assert not version_changes(policy)
    assert cli.main(["render", f"{tmp_path}/run", "--out", f"{tmp_path}/page.html"]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_workers_change_nothing_and_a_run_goes_on_exactly(tmp_path):
    """Of an environment that saves itself; CartPole, which is copied, is in tests/runs."""
    flags = f"--env {HERE}:OwnBits-v0 {SMALL} --horizon 30 --perturb-std 0.3 --num-env-steps"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(f"{flags} 1200", whole) == 0
    assert train(f"{flags} 620 --num-threads 2", broken) == 0
    assert resume(broken, "--num-env-steps 1200 --num-threads 3") == 0
    assert rows(broken)[:15] == rows(whole)[:15]  # then the short run's last evaluation
    state = {name: value for name, value in arrays(whole).items() if "opaque" not in name}
    assert {name: arrays(broken)[name] for name in state} == state
    assert (whole / "policy" / "last").is_dir()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no info", "reset must return (observation, info)"),
        ("shape", "the observation of reset is not in its observation_space: expected shape (2,)"),
        ("unseen", "starts with an observation that is not finite"),
        (
            "old",
            "step must return (observation, reward, terminated, truncated, info), got 4 values",
        ),
        ("array", "the reward must be a number, got [-"),
        ("none", "the reward must be a number, got None"),
    ],
)
def test_breaches_of_the_protocol_are_one_line(tmp_path, capsys, fault, words):
    before = Faulty.opened
    if fault == "old":  # a wrapper unpacks it first
        limited = contextlib.closing(GymnasiumSimulator(f"{HERE}:limited_old", 1))
        with limited as simulator, pytest.raises(UserError, match="step must return"):
            bool(simulator.exact)
    flags = [*ROOM.replace("Room", "Faulty").split(), "--env-kwargs", f'{{"fault": "{fault}"}}']
    assert cli.main(["train", *flags, "--run-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
    assert Faulty.opened == before  # each was closed


def test_environments_are_closed_and_remarked_upon(tmp_path, capsys):
    options = {"num_env_steps": 200, "num_pairs": 1, "horizon": 40, "eval_every": 200}
    before = Faulty.opened
    run = pes_rl.train(
        Faulty, run_dir=tmp_path, num_threads=1, env_kwargs={"fault": "global"}, **options
    )
    pes_rl.evaluate(run.path, episodes=1)
    assert Faulty.opened == before
    assert "draws from numpy.random, which its reset does not seed" in capsys.readouterr().err


def test_a_worker_that_dies_and_one_that_fails(tmp_path, capsys):
    flags = ROOM.replace("Room", "Faulty").replace("--num-threads 1", "--num-threads 2").split()
    dies = [*flags, "--env-kwargs", '{"fault": "dies", "after": 25}']
    assert cli.main(["train", *dies, "--run-dir", str(tmp_path / "dies")]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "a worker process of environment" in last and "was ended by signal 9" in last
    assert (tmp_path / "dies" / "checkpoints").is_dir()
    with pytest.raises(KeyError, match="sensor") as error:
        kwargs = {"fault": "raises", "after": 25}
        pes_rl.train(
            Faulty,
            run_dir=tmp_path / "fails",
            env_kwargs=kwargs,
            num_pairs=2,
            horizon=40,
            num_threads=2,
        )
    assert "own_environments.py" in error.value.__notes__[0]


def test_an_own_limit_is_a_truncation_and_wrappers_see_it():
    """The environment's limit ends no episode of ours; where it is the horizon, we cut there."""
    simulator = GymnasiumSimulator(f"{HERE}:limited_goal", 1, None, f"{HERE}:timed")
    assert simulator.observation_size == 20 + 1
    rng = np.random.default_rng(3)
    simulator.reset(np.array([0]), [rng])
    ends = [simulator.step(np.array([0]), np.array([[1, 1]])).terminated[0] for _ in range(20)]
    assert not any(ends)
    assert resolve(f"{HERE}:limited_goal", wrappers=f"{HERE}:timed").horizon == 20


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (f"{HERE}:Rom", "has no 'Rom'; did you mean 'Room'?"),
        (f"{HERE}:HERE", "is a str; give a class or function that returns a gymnasium.Env"),
        (f"{HERE}:samples.x", "has no 'samples.x'"),
        ("Mine-v0", "an environment of your own is called module:Id-v0, module:Class"),
        ("tests.tools.own_environments", "is called module:Id-v0"),
        ("os:getcwd", "'os:getcwd' is not known to return an environment; annotate it"),
        (f"{HERE}:call", "is not known to return an environment"),
        (f"{HERE}:system", "is not known to return an environment"),
        ("nowhere_to_be_found:Room", "there is no module 'nowhere_to_be_found'"),
        ("dm_control/cheetah-run-v9", "dm_control/cheetah-run-v9"),
    ],
)
def test_names_that_lead_nowhere(env, words):
    with pytest.raises(UserError) as error:
        build_config({"env": env, "horizon": 10})
    assert words in str(error.value) and "HalfCheetah" not in str(error.value)


def test_what_cannot_be_found_again_is_refused(tmp_path):
    for thing in (lambda: Room(), Room(), limited_goal()):
        with pytest.raises(UserError, match="cannot be found again by a name"):
            pes_rl.train(thing, run_dir=tmp_path / "run", horizon=10)  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"env_kwargs": "[1]"}, "env_kwargs must be a JSON object"),
        ({"env_kwargs": {"high": object()}}, "env_kwargs must be a JSON object"),
        ({"env_kwargs": {"colour": 1}}, "unexpected keyword argument 'colour'"),
        ({"wrappers": "subprocess:call"}, "'subprocess:call' is not known to return an env"),
        ({"wrappers": "gone"}, "'gone' is not of the form module:attribute"),
        ({"wrappers": f"{HERE}:HERE"}, "not a function or a class"),
    ],
)
def test_wrong_arguments(tmp_path, given, words):
    with pytest.raises(UserError) as error:
        pes_rl.train(Room, run_dir=tmp_path / "run", horizon=10, num_threads=1, **given)
    assert words in str(error.value)


def test_kwargs_in_a_file(tmp_path):
    text = 'env: HalfCheetah\nenv_kwargs: {frame_skip: 1, reset_noise_scale: 1e-3, "name": "1"}\n'
    (tmp_path / "a.yaml").write_text(text)
    given = build_config({"engine": "gymnasium"}, tmp_path / "a.yaml").env_kwargs
    assert given == {"frame_skip": 1, "reset_noise_scale": 1e-3, "name": "1"}


def test_official_tasks_with_arguments():
    """Those that the definitions have stay on their engines; others need Gymnasium itself."""
    own = build_config({"env": "Ant", "env_kwargs": {"include_cfrc_ext_in_observation": False}})
    assert (own.engine, own.environment.observation_size) == ("mujoco", 27)
    assert build_config({"env": "Ant", "env_kwargs": {"xml_file": "a.xml"}}).engine == "gymnasium"
    limited = build_config({"env": "Hopper", "env_kwargs": {"max_episode_steps": 200}})
    assert (limited.engine, limited.horizon) == ("mujoco", 200)
    for kwargs, words in [
        ({"xml_file": "a.xml"}, "engine 'mujoco' cannot honour env_kwargs 'xml_file'"),
        ({"frame_skip": 0}, "frame_skip of Ant must be a positive whole number, not 0"),
        ({"max_episode_steps": -1}, "max_episode_steps must be a positive whole number, not -1"),
    ]:
        with pytest.raises(UserError, match=words):
            build_config({"env": "Ant", "engine": "mujoco", "env_kwargs": kwargs})
    with pytest.raises(UserError, match="cannot honour wrappers"):
        build_config({"env": "Ant", "engine": "mjx", "wrappers": f"{HERE}:timed"})


def test_an_official_task_that_is_wrapped_says_what_steps_it(tmp_path, capsys):
    flags = f"--env InvertedPendulum --wrappers {HERE}:timed {SMALL} --num-env-steps 80"
    assert train(flags, tmp_path / "run") == 0
    assert "is stepped by Gymnasium itself (engine gymnasium)" in capsys.readouterr().err
    assert pes_rl.load_policy(tmp_path / "run").environment["wrappers"] == f"{HERE}:timed"
    assert pes_rl.evaluate(tmp_path / "run", episodes=1)["environment"] == "InvertedPendulum-v5"


SCRIPT = """
import gymnasium, numpy as np, pes_rl

class Still(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}
    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}

small = dict(num_env_steps=200, num_pairs=1, horizon=20, eval_every=200, num_threads=2)
run = pes_rl.train(Still, run_dir="still", **small)
from neighbour import Room
pes_rl.train(Room, run_dir="room", **small)
gymnasium.register("Mine-v0", Still, max_episode_steps=20)
pes_rl.train("Mine-v0", run_dir="mine", **small)
print(pes_rl.evaluate(run.path, episodes=1)["episode_return_mean"])
"""


def test_a_script_without_a_guard_and_a_module_of_the_current_folder(tmp_path):
    """Classes of the script itself, of a module beside it, and an id that the script registers."""
    text = "from tests.tools.own_environments import Room as Base\nclass Room(Base): pass\n"
    (tmp_path / "neighbour.py").write_text(text)
    (tmp_path / "script.py").write_text(SCRIPT)
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}

    def do(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            words, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=120
        )

    done = do(sys.executable, "script.py")
    assert done.stdout.strip() == "20.0", done.stderr
    command = "import sys; from pes_rl.cli import main; sys.exit(main(sys.argv[1:]))"
    played = do(sys.executable, "-P", "-c", command, "evaluate", "room", "--episodes", "1")
    assert "neighbour:Room" in played.stdout, played.stderr
    lost = do(sys.executable, "-P", "-c", command, "evaluate", "still")
    assert lost.returncode == 2 and "that is the script that trained it" in lost.stderr
    assert len(lost.stderr.splitlines()) == 1


def test_a_restored_environment_knows_how_far_it_was():
    """At the time limit, 30, the environment truncates, and to the runner that is no end."""
    row, still = np.array([0]), np.zeros((1, 4), np.int8)
    with contextlib.ExitStack() as opened:
        makers = [GymnasiumSimulator(f"{HERE}:OwnBits-v0", 1) for _ in range(3)]
        old, new, unsaved = (opened.enter_context(contextlib.closing(maker)) for maker in makers)
        for simulator in (old, unsaved):
            simulator.reset(row, [np.random.default_rng(0)])
            for _ in range(29):
                simulator.step(row, still)
        new.restore(old.state())  # whose trying out must leave alone what is under way
        last = new.step(row, still)
        assert not last.terminated[0]
        np.testing.assert_array_equal(last.observation, unsaved.step(row, still).observation)
        env, other = (
            opened.enter_context(contextlib.closing(make_env(f"{HERE}:OwnBits-v0"))) for _ in "ab"
        )
        env.reset(seed=0)
        for _ in range(29):
            env.step(still[0])
        *_, truncated, _ = load(other, save(env)).step(still[0])
        assert truncated


def test_bits_is_what_needs_its_pair_of_methods(monkeypatch):
    def is_exact() -> bool:
        with contextlib.closing(GymnasiumSimulator(f"{HERE}:OwnBits-v0", 1)) as simulator:
            return simulator.exact

    assert is_exact()
    monkeypatch.delattr(Bits, "save_state")
    assert not is_exact()
