"""Several processes on loopback: the same run as one, stopped together, continued by any number."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.storage.checkpoint import load_latest
from pes_rl.training.joining import join
from pes_rl.training.processes import Processes
from tests.tools.run_tools import arrays, free_port, resume, rows, train
from tests.tools.toy_environment import point_mass

ROOT = Path(__file__).parents[2]
SIZES = (
    "--num-pairs 4 --segment-length 10 --horizon 40 --eval-every 400 --eval-episodes 1 "
    "--checkpoint-every 300 --log-every 1 --num-threads 1"
)
ENGINES = {
    # 80 env steps an update, five updates an advance of the JAX engine.
    "mujoco": f"--env HalfCheetah {SIZES}",
    "gymnasium": f"--env CartPole-v1 {SIZES}",
    "jax": f"--env brax/halfcheetah {SIZES} --perturb-std 1",
}
LOST = (
    "pes-rl: error: lost another process of this run; start it again with --resume RUN to continue "
    "from its last checkpoint"
)
CLOSE = ("train/segment_return", "train/grad_norm", "train/live_fraction")


_STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    while _STARTED:
        process = _STARTED.pop()
        process.kill()
        process.wait()


def start(
    size: int,
    flags: str | list[str],
    folder: Path,
    signalled: int | None = None,
    port: int | None = None,
    broken: bool = False,
) -> list[subprocess.Popen]:
    """``pes-rl train`` in some processes; what they say goes to ``folder/log0`` and so on."""
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    port, started = port or free_port(), []
    flags = [flags] * size if isinstance(flags, str) else flags
    environment["PES_RL_TEST_BREAK"] = str(int(broken))
    for index in range(size):
        place = f"--coordinator 127.0.0.1:{port} --num-processes {size} --process-id {index}"
        words = f"train {flags[index]} {place if size > 1 else ''}".split()
        home = folder / f"home{index}"
        home.mkdir(exist_ok=True)
        with (folder / f"log{index}").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.tools.distributed_driver", *words],
                    cwd=home,
                    env=environment | {"PES_RL_TEST_SIGNAL": str(int(index == signalled))},
                    stdout=log,
                    stderr=log,
                )
            )
    _STARTED.extend(started)
    return started


def finish(started: list[subprocess.Popen], seconds: float = 300) -> list[int]:
    end = time.monotonic() + seconds
    return [process.wait(max(end - time.monotonic(), 1)) for process in started]


def launch(size: int, flags: str, folder: Path) -> None:
    codes = finish(start(size, flags, folder))
    assert codes == [0] * size, (folder / "log0").read_text()[-3000:]


def until(condition, started, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and all(p.poll() is None for p in started)
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """This process's own runs are of what the driver trains."""
    monkeypatch.setattr("pes_rl.training.device.make_jax_environment", lambda *_: point_mass())


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """A run of 800 env steps by two processes."""
    folder = tmp_path_factory.mktemp("together")
    launch(2, f"{ENGINES['jax']} --num-env-steps 800 --run-dir {folder}/run2", folder)
    return folder


def assert_is_the_run_of_one(run: Path, engine: str, several: int, tmp_path: Path) -> None:
    """Close to one process's run; and one process continues it."""
    assert train(f"{ENGINES[engine]} --num-env-steps 800", tmp_path / "run1") == 0
    one, two = rows(tmp_path / "run1"), rows(run)
    assert len(one) == len(two) >= 10
    for a, b in zip(one[:10], two[:10], strict=True):
        assert (a["env_steps"], a["update"]) == (b["env_steps"], b["update"])
        for key in CLOSE:
            assert a[key] == pytest.approx(b[key], rel=1e-4), key
    expected, got = (load_latest(folder).arrays for folder in (tmp_path / "run1", run))
    assert expected.keys() == got.keys()
    for name, array in expected.items():
        assert (array.dtype, array.shape) == (got[name].dtype, got[name].shape), name
    for name in ("noise", "clock", "pair", "draws"):
        [key] = [key for key in expected if key.endswith(f"estimator/{name}")]
        np.testing.assert_array_equal(expected[key], got[key])


def assert_one_continues(run: Path, several: int, capsys) -> None:
    before = rows(run)
    assert resume(run, "--num-env-steps 1600") == 0
    assert f"the pairs were in {several} parts" in capsys.readouterr().err
    later = rows(run)
    assert later[-1]["env_steps"] >= 1600 and later[: len(before) - 1] == before[:-1]


def test_two_processes_make_the_run_of_one_and_one_continues_it(together, tmp_path, capsys):
    run = shutil.copytree(together / "run2", tmp_path / "run")
    assert_is_the_run_of_one(run, "jax", 2, tmp_path)
    assert_one_continues(run, 2, capsys)
    # Only the first process has written anything.
    assert not list((together / "home1").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "several"), [("mujoco", 2), ("mujoco", 4), ("gymnasium", 2), ("jax", 4)]
)
def test_processes_make_the_run_of_one_and_one_continues_it(engine, several, tmp_path, capsys):
    run = tmp_path / "run"
    launch(several, f"{ENGINES[engine]} --num-env-steps 800 --run-dir {run}", tmp_path / "work")
    assert_is_the_run_of_one(run, engine, several, tmp_path)
    assert_one_continues(run, several, capsys)


def test_two_processes_of_a_host_engine_make_the_same_bits_as_one(tmp_path, capsys):
    """Sums over pairs are in blocks that do not depend on it; ``std`` shaping has none."""
    value = "--estimator pes --baseline quadratic --discount 0.99"
    flags = f"{ENGINES['mujoco']} {value} --shaping none --num-env-steps 800"
    launch(2, f"{flags} --run-dir {tmp_path / 'run2'}", tmp_path / "work")
    assert train(flags, tmp_path / "run1") == 0
    assert rows(tmp_path / "run1") == rows(tmp_path / "run2")
    assert arrays(tmp_path / "run1") == arrays(tmp_path / "run2")
    assert_one_continues(tmp_path / "run2", 2, capsys)
    assert resume(tmp_path / "run1", "--num-env-steps 1600") == 0
    assert rows(tmp_path / "run1") == rows(tmp_path / "run2")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mujoco", "jax"])
def test_two_processes_stop_at_a_return_change_their_rate_and_begin_from_a_policy(engine, tmp_path):
    run, work, flags = tmp_path / "run", tmp_path / "work", f"{ENGINES[engine]} --shaping none"
    launch(2, f"{flags} --num-env-steps 1600 --stop-at -1e6 --run-dir {run}", work)
    stopped = rows(run)
    assert stopped[-1]["env_steps"] < 800 and "eval/confirmed_return" in stopped[-1]
    launch(2, f"--resume {run} --num-env-steps 800 --learning-rate 0.125", work)
    assert rows(run)[-1]["train/learning_rate"] == 0.125 != stopped[-1]["train/learning_rate"]
    assert rows(run)[: len(stopped)] == stopped
    warm = f"{flags} --num-env-steps 200 --seed 3 --init-from {run}/policy/last"
    launch(2, f"{warm} --run-dir {tmp_path / 'two'}", work)
    assert train(warm, tmp_path / "one") == 0
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert one["train/segment_return"] == pytest.approx(two["train/segment_return"], rel=1e-4)
    first, second = (load_latest(path).arrays for path in (tmp_path / "one", tmp_path / "two"))
    np.testing.assert_allclose(first["train/theta"], second["train/theta"], rtol=1e-3, atol=1e-4)
    # An unfit policy is refused in both.
    started = start(2, f"{flags} --init-from zoo/Hopper", work)
    assert finish(started) == [2, 2]
    for log in ("log0", "log1"):
        assert "pes-rl: error: init_from zoo/Hopper: its policy" in (work / log).read_text()


def test_a_signal_to_one_stops_all_and_several_continue(together, tmp_path):
    """What comes to the run's port, of another run or twice, disturbs neither."""
    run, work, port = tmp_path / "run", tmp_path / "work", free_port()
    flags = f"{ENGINES['jax']} --num-env-steps 800 --run-dir {run}"
    started = start(2, flags, work, signalled=1, port=port)
    until((run / "config.yaml").exists, started)
    for index, words in ((0, "is in use, perhaps by another run"), (1, "is under way at")):
        with pytest.raises(UserError, match=words):
            join(f"127.0.0.1:{port}", 2, index, {})
    assert finish(started) == [143, 143]
    stopped, whole = rows(run), rows(together / "run2")
    assert load_latest(run).meta["update"] == stopped[-1]["update"] < whole[-1]["update"]
    launch(2, f"--resume {run}", work)
    assert rows(run) == whole


@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_ends_the_others_and_one_continues(victim, tmp_path):
    run, work = tmp_path / "run", tmp_path / "work"
    started = start(2, f"{ENGINES['mujoco']} --num-env-steps 1e9 --run-dir {run}", work)
    until(lambda: len(list(run.glob("checkpoints/0*"))) > 0, started)
    started[victim].kill()
    begin = time.monotonic()
    [_, code] = [started[i].wait(20) for i in (victim, 1 - victim)]
    assert time.monotonic() - begin < 20
    said = (work / f"log{1 - victim}").read_text()
    if code != 2:  # JAX's runtime may be the first to notice the end of the process it is in
        assert victim == 0 and "another task died" in said
    else:
        assert LOST in said
    steps = load_latest(run).meta["env_steps"]
    assert resume(run, f"--num-env-steps {steps + 800}") == 0
    assert rows(run)[-1]["env_steps"] >= steps + 800


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_stopped_ends_the_others(victim, tmp_path):
    """Also while a third one is neither."""
    run, work = tmp_path / "run", tmp_path / "work"
    flags = f"{ENGINES['mujoco']} --num-pairs 6 --num-env-steps 1e9 --run-dir {run}"
    started = start(3, flags, work)
    until(lambda: len(list(run.glob("checkpoints/0*"))) > 0, started)
    started[victim].send_signal(signal.SIGSTOP)
    others = [index for index in range(3) if index != victim]
    assert finish([started[index] for index in others], 60) == [2, 2]
    for index in others:
        said = (work / f"log{index}").read_text()
        assert said.splitlines()[-1] == LOST and "stack" not in said
    assert load_latest(run)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (f"{ENGINES['jax']} --seed", "has seed 3, process 0 has 5"),
        ("--resume nowhere --checkpoint-every", "has checkpoint_every 3, process 0 has 5"),
    ],
)
def test_processes_that_differ_end_before_there_is_anything(flags, words, tmp_path):
    work = tmp_path / "work"
    assert finish(start(2, [f"{flags} 5", f"{flags} 3"], work), 20) == [2, 2]
    for log in ("log0", "log1"):
        [line] = (work / log).read_text().splitlines()
        assert line.startswith("pes-rl: error: process 1 has ") and words in line
    assert not list((work / "home0").iterdir())


def test_an_evaluation_that_raises_leaves_what_was_trained(tmp_path):
    run, work = tmp_path / "run", tmp_path / "work"
    flags = f"{ENGINES['jax']} --checkpoint-every 1e6 --num-env-steps 800 --run-dir {run}"
    assert finish(start(2, flags, work, broken=True)) == [1, 2]
    assert load_latest(run).meta["update"] == rows(run)[-1]["update"] > 0
    said = (work / "log0").read_text()
    assert "RuntimeError: the cable is out" in said and "to be resumed" in said
    assert LOST in (work / "log1").read_text()


def test_mistakes_of_the_first_are_known_to_all(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").touch()
    started = start(2, f"{ENGINES['jax']} --run-dir {tmp_path / 'run'}", tmp_path / "work")
    assert finish(started) == [2, 2]
    for log in ("log0", "log1"):
        assert "pes-rl: error: the run folder" in (tmp_path / "work" / log).read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--coordinator localhost:1", "--coordinator needs --num-processes too"),
        ("--num-processes 2 --process-id 0", "--num-processes needs --coordinator too"),
        ("--coordinator host --num-processes 2 --process-id 0", "must be HOST:PORT, not 'host'"),
        ("--coordinator a:1 --num-processes 2 --process-id 2", "--process-id 2 must be below"),
        ("--coordinator a:1 --num-processes x --process-id 2", "--num-processes must be"),
    ],
)
def test_places_that_make_no_sense(flags, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--env", "HalfCheetah", *flags.split()]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("pes-rl: error: ") and words in line
    assert list(tmp_path.iterdir()) == []


def test_no_job_around_and_pairs_that_cannot_be_spread(tmp_path):
    [process] = start(1, "--env HalfCheetah --distributed", tmp_path / "alone")
    assert finish([process]) == [2]
    [line] = (tmp_path / "alone" / "log0").read_text().splitlines()
    assert "found no SLURM, Open MPI or Kubernetes job" in line
    started = start(2, f"{ENGINES['mujoco']} --num-pairs 5", tmp_path / "odd")
    assert finish(started) == [2, 2]
    assert "use --num-pairs 4" in (tmp_path / "odd" / "log0").read_text()


def test_alone_everything_is_as_without_others():
    alone, values = Processes(), np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(alone.gather(values), values)
    assert alone.decide(lambda: 3) == 3
    alone.wait()
    stop: list[int] = []
    assert not alone.agreed(stop)
    stop.append(15)
    assert alone.agreed(stop)
