"""The command line: what reaches the trainer, and how mistakes look from outside."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

import pes_rl
from pes_rl import cli
from pes_rl.config import OPTIONS, build_config, save_config
from pes_rl.envs.registry import BRAX, OFFICIAL
from pes_rl.errors import UserError

HEAVY = ("numpy", "jax", "mujoco", "gymnasium", "optax", "scipy", "tensorboardX", "rich")


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Stand-ins for the modules that do the work; the list records how they were called."""
    seen = []

    def evaluate(path, **options):
        seen.append((path, options))
        result = {"episode_return_mean": 12.5, "episode_return_std": 1.0, "policy": "policy/best"}
        result |= {"episode_return_interval": [12.25, 12.75], "episode_length_mean": 1000.0}
        result |= {"episode_return_min": 11.0, "episode_return_max": 14.0, "broken_episodes": 0}
        result |= {"threshold": 12.0, "solved": True, "success_rate": 0.25, "env_kwargs": {}}
        result |= {"observation_noise": 0.0, "action_noise": 0.0}
        result |= {"environment": "Hopper-v5", "version_changes": ["mujoco 1.0 -> 2.0"]}
        return result | options

    trainer = types.ModuleType("pes_rl.runs.run")
    vars(trainer)["train_from_config"] = lambda *args, **hooks: seen.append(args)
    vars(trainer)["resume"] = lambda *args, **options: seen.append((*args, options))
    evaluation = types.ModuleType("pes_rl.evaluation")
    vars(evaluation)["evaluate"] = evaluate
    for module in (trainer, evaluation):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return seen


def test_train_passes_only_what_was_typed(calls):
    command = (
        "train --env Humanoid --num-env-steps 2e6 --no-staggered --policy mlp "
        "--hidden-sizes 8 16 --reward-shift -1e-3 --run-dir out"
    )
    assert cli.main(command.split()) == 0
    [(config, run_dir, recorded)] = calls
    given = {"num_env_steps": 2_000_000, "staggered": False, "policy": "mlp"}
    given |= {"hidden_sizes": (8, 16), "reward_shift": -1e-3}
    assert config == build_config({"env": "Humanoid", **given})
    assert run_dir == Path("out")
    assert recorded == f"pes-rl {command}"


def test_flags_win_over_the_file(calls, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("env: Humanoid\nnum_pairs: 5\nseed: 3\n")
    assert cli.main(["train", "--config", str(path), "--seed", "4"]) == 0
    config, run_dir, _ = calls[0]
    assert (config.num_pairs, config.seed, run_dir) == (5, 4, None)


def test_resume(calls):
    assert cli.main(["train", "--resume", "runs/a", "--num-env-steps", "3e6"]) == 0
    command = "pes-rl train --resume runs/a --num-env-steps 3e6"
    assert calls == [(Path("runs/a"), {"num_env_steps": 3_000_000, "command": command})]


def test_evaluate(calls, capsys):
    assert cli.main(["evaluate", "runs/a", "--episodes", "20", "--json"]) == 0
    assert calls == [(Path("runs/a"), {"episodes": 20, "seed": 0})]
    assert json.loads(capsys.readouterr().out)["episodes"] == 20
    assert cli.main(["evaluate", "runs/a", "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "policy/best in Hopper-v5\n"
        "episode return 12.50 +- 1.00 (standard deviation), 11.00 to 14.00; "
        "95 % interval of the mean 12.25 to 12.75\n"
        "solved: a mean of 12 counts as solved\n"
        "success rate 25.0 %\n"
        "episode length 1000.0; 100 episodes, seeds 5 to 104, deterministic policy\n"
    )
    note = "pes-rl: note: versions differ from those of training (mujoco 1.0 -> 2.0)"
    assert err.startswith(note) and len(err.splitlines()) == 1


def test_envs(capsys):
    assert cli.main(["envs"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in OFFICIAL)
    assert cli.main(["envs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {*OFFICIAL, *BRAX}


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "evaluate", "envs"))
    assert cli.main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    groups = text.split("what most runs are given:\n")[1]
    flags = re.findall(r"^  (--[a-z-]+)", groups, re.MULTILINE)
    assert set(flags) >= {"--" + name.replace("_", "-") for name in OPTIONS}
    assert len(flags) == len(set(flags))
    common = "env estimator seed num-env-steps run-dir config resume num-pairs perturb-std"
    assert flags[:10] == [f"--{name}" for name in [*common.split(), "learning-rate"]]
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"pes-rl {pes_rl.__version__}\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "train, evaluate, compare, render, envs, reproduce, data, completion"),
        ("trian", "did you mean 'train'?"),
        ("--verson", "COMMAND"),
        ("train", "--env"),
        ("train --env", "--env: expected one argument"),
        ("train --env HalfChetah", "did you mean 'HalfCheetah'?"),
        ("train --env Humanoid --segment-lenght 3", "did you mean '--segment-length'?"),
        ("train --env Humanoid --segment-lenght=3", "did you mean '--segment-length'?"),
        ("train --env Humanoid --num-pair 3", "did you mean '--num-pairs'?"),
        ("train --env Humanoid --estimator es-singel", "did you mean 'es-single'?"),
        ("train --env Humanoid --perturb-std -0.1", "perturb_std"),
        ("train --env Humanoid --perturb-std -1e-3", "-0.001"),
        ("train --env Humanoid --perturb-std nan", "perturb_std"),
        ("train --env Humanoid --perturb-std -inf", "perturb_std"),
        ("train --env Humanoid --segment-length 0", "segment_length"),
        ("train --env Humanoid --segment-length 1001", "1001"),
        ("train --env Humanoid --num-env-steps 2.5", "num_env_steps"),
        ("train --env Humanoid --staggered false", "unexpected argument 'false'"),
        ("train --env Humanoid Swimmer", "unexpected argument 'Swimmer'"),
        ("train --env Humanoid --config missing.yaml", "missing.yaml"),
        ("train --resume run --seed 3", "--seed cannot change"),
        ("train --resume run --perturb-std 3", "--perturb-std cannot change"),
        ("train --resume run --run-dir other", "--run-dir cannot change"),
        ("train --resume run --config f.yaml", "--config cannot change"),
        ("train --resume run --num-env-steps -3", "num_env_steps must be finite and positive"),
        ("train --resume run --num-threads two", "num_threads must be a whole number"),
        ("evaluate", "RUN"),
        ("evaluate run --episodes 0", "--episodes must be at least 1"),
        ("evaluate run --seed 1.5", "--seed must be a whole number"),
        ("envs --jsno", "did you mean '--json'?"),
    ],
)
def test_mistakes_are_short_and_harmless(command, words, calls, capsys, tmp_path):
    assert cli.main(command.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("pes-rl: error: ") and len(err.splitlines()) <= 3
    assert words in err and out == ""
    assert calls == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--env", "{}"],
        ["train", "--{}"],
        ["{}"],
        ["evaluate", "{}"],
        ["train", "--config={}"],
    ],
)
def test_a_long_value_is_not_echoed_in_full(words, capsys):
    assert cli.main([word.format(2000 * "A") for word in words]) == 2
    message = capsys.readouterr().err
    assert len(message) < 900
    assert message.count("\n") == 1


def test_errors_from_the_work_itself(calls, monkeypatch, capsys):
    def fail(*_):
        raise UserError("one\ntwo\nthree\nfour")

    monkeypatch.setattr(sys.modules["pes_rl.runs.run"], "train_from_config", fail)
    assert cli.main(["train", "--env", "Humanoid"]) == 2
    assert capsys.readouterr().err == "pes-rl: error: one\ntwo\nthree\n"

    def fill_the_disk(*_):
        raise OSError(28, "No space left on device", "runs/x/config.yaml")

    monkeypatch.setattr(sys.modules["pes_rl.runs.run"], "train_from_config", fill_the_disk)
    assert cli.main(["train", "--env", "Humanoid"]) == 2
    message = "pes-rl: error: No space left on device (runs/x/config.yaml)\n"
    assert capsys.readouterr().err == message

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["pes_rl.runs.run"], "train_from_config", interrupt)
    assert cli.main(["train", "--env", "Humanoid"]) == 130


def test_python_api(calls, tmp_path):
    pes_rl.train("Humanoid", estimator="pes", num_env_steps=1000, run_dir="out")
    [(config, run_dir, command)] = calls
    assert (config.estimator, config.num_env_steps, run_dir) == ("pes", 1000, "out")
    assert command == "pes_rl.train('Humanoid', run_dir='out', estimator='pes', num_env_steps=1000)"
    with pytest.raises(UserError, match="'num_pairs'"):
        pes_rl.train("Humanoid", num_pair=3)
    path = tmp_path / "config.yaml"
    save_config(config, path)
    pes_rl.train("Humanoid", config=path)
    assert calls[1][0] == config


def test_public_names(calls):
    assert callable(pes_rl.train) and callable(pes_rl.evaluate)
    assert {"train", "evaluate", "load_policy", "__version__"} <= set(dir(pes_rl))
    # Importing a submodule of the same name would replace the function by the module.
    assert not any(find_spec(f"pes_rl.{name}") for name in ("train", "evaluate", "load_policy"))
    with pytest.raises(AttributeError, match="nothing"):
        _ = pes_rl.nothing


def run(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pes_rl", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )


def test_in_a_process_of_its_own(tmp_path):
    bad = run(tmp_path, "train", "--env", "HalfChetah")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == (
        "pes-rl: error: unknown environment 'HalfChetah'; did you mean 'HalfCheetah'?\n"
    )
    assert run(tmp_path, "envs").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, pes_rl.cli as c; r = c.main(['train', '--help']); r += c.main(['envs']);"
        f"print([m for m in {HEAVY} if m in sys.modules], r)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr


def test_help_is_quick(tmp_path):
    """In processor time, which a busy machine does not stretch much."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(tmp_path, "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.0
