"""Runs on JAX engines from end to end: their folder, their bits, and stopping between updates."""

from __future__ import annotations

import re
import signal

import jax
import pytest
from flax import struct

import pes_rl
from pes_rl.storage.checkpoint import flatten, unflatten
from pes_rl.training.device import DeviceTrainer
from tests.tools.run_tools import EVAL, TIMES, arrays, resume, rows, train
from tests.tools.toy_environment import PointMass, configure, point_mass

# 24 env steps an update where nothing ends early, four updates an advance.
SIZES = (
    "--num-pairs 2 --segment-length 6 --horizon 30 --eval-every 96 --eval-episodes 2 "
    "--checkpoint-every 150 --log-every 1 --perturb-std 1"
)
TOY = f"--env brax/halfcheetah {SIZES} --num-env-steps 800"


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory):
    """Compiled programs are kept in a folder of these tests."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("programs")))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("pes_rl.training.device.make_jax_environment", lambda *_: point_mass())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pes_rl.training.device.make_jax_environment", lambda *_: point_mass())
        assert train(TOY, path) == 0
    return path


def test_every_update_has_a_row_and_an_advance_is_scored_at_its_end(whole):
    table = rows(whole, without=())
    assert [row["update"] for row in table] == list(range(1, len(table) + 1))
    assert len(table) % 4 == 0 and table[-1]["env_steps"] >= 800
    scored = [row["update"] for row in table if row.keys() & set(EVAL)]
    assert scored and all(update % 4 == 0 for update in scored) and scored[-1] == len(table)
    before = [0, *(row["env_steps"] for row in table)]
    for row, start in zip(table, before, strict=False):
        assert row["train/live_fraction"] == pytest.approx((row["env_steps"] - start) / 24)
        assert row["train/env_steps_per_second"] >= row["total/env_steps_per_second"] > 0
    for begin in range(0, len(table), 4):  # what became known at one time shares its speed
        assert len({tuple(row[key] for key in TIMES[1:]) for row in table[begin : begin + 4]}) == 1
    assert min(row["train/live_fraction"] for row in table) < 1  # members do end


def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(
    whole, toy, tmp_path, monkeypatch
):
    plain, run = DeviceTrainer.advance, tmp_path / "run"

    def advance(self):
        if self.updates == 8:
            signal.raise_signal(signal.SIGTERM)
        return plain(self)

    monkeypatch.setattr(DeviceTrainer, "advance", advance)
    with pytest.raises(SystemExit) as stopped:
        train(TOY, run)
    assert stopped.value.code == 143
    monkeypatch.setattr(DeviceTrainer, "advance", plain)
    assert len(rows(run)) == 12  # the advance under way is finished and saved
    assert resume(run) == 0
    assert rows(run) == rows(whole)
    assert arrays(run) == arrays(whole)


def test_what_is_compiled_is_said_and_what_is_finished_too(whole, toy, tmp_path, capsys):
    assert train(TOY.replace("800", "30"), tmp_path / "run") == 0
    lines = capsys.readouterr().err.splitlines()
    said = [line.partition(": ")[2] for line in lines if line.startswith(f"{tmp_path / 'run'}: ")]
    # What takes little memory is not said to.
    assert said[0] == "compiling the update for 1 x cpu" and said[2] == "92 env steps"
    assert re.fullmatch(r"compiled in \d+\.\d s", said[1]) and len(said) == 3
    assert resume(tmp_path / "run") == 0
    assert "nothing left to train" in capsys.readouterr().err


@struct.dataclass
class Boxed:
    """A state as Brax and MJX have it, which checkpoints know nothing of."""

    inside: dict


def test_states_in_containers_of_an_engine_are_saved():
    plain = point_mass()

    def reset(key):
        state, observation = plain.reset(key)
        return Boxed({"a/b": state.x, "v": state.v}), observation

    def step(state, action):
        state, out = plain.step(PointMass(state.inside["a/b"], state.inside["v"]), action)
        return Boxed({"a/b": state.x, "v": state.v}), out

    boxed = plain._replace(reset=reset, step=step)
    one, two = (DeviceTrainer(configure(), environment=boxed) for _ in range(2))
    one.advance()
    saved = flatten(one.state())
    assert all(array.dtype != object for array in saved.values())
    two.restore(unflatten(two.state(), saved))
    assert one.advance() == two.advance()


def test_brax_trains_resumes_and_is_evaluated(tmp_path):
    run = tmp_path / "run"
    flags = f"--env brax/inverted_pendulum --backend spring --num-inputs 3 {SIZES} --num-env-steps"
    assert train(f"{flags} 30", run) == 0
    assert resume(run, "--num-env-steps 100") == 0
    assert train(f"{flags} 100", tmp_path / "whole") == 0
    broken, straight = rows(run), rows(tmp_path / "whole")
    assert [row["update"] for row in straight] == list(range(1, 9))
    for key in EVAL:  # the first run ended with an evaluation
        assert key in broken[3] and key not in straight[3]
        del broken[3][key]
    assert broken == straight
    assert arrays(run) == arrays(tmp_path / "whole")
    policy = pes_rl.load_policy(run)
    assert policy.environment["backend"] == "spring" and policy.environment["engine"] == "brax"


def test_mjx_trains_resumes_and_is_scored_in_gymnasium(tmp_path):
    run = tmp_path / "run"
    flags = f"--env InvertedPendulum --engine mjx {SIZES} --num-env-steps"
    assert train(f"{flags} 30", run) == 0
    assert resume(run, "--num-env-steps 100") == 0
    assert [row["update"] for row in rows(run)] == list(range(1, 9))
    assert pes_rl.evaluate(run, episodes=1)["environment"] == "InvertedPendulum-v5"


@pytest.mark.slow
def test_a_policy_trained_on_mjx_scores_the_same_in_gymnasium(tmp_path):
    """Within the 95 % interval of the last evaluation's own mean; three minutes."""
    run, episodes = tmp_path / "run", 20
    assert (
        train(
            "--env Swimmer --engine mjx --num-pairs 8 --num-env-steps 1.5e5 --eval-every 75000 "
            f"--eval-episodes {episodes}",
            run,
        )
        == 0
    )
    own = rows(run)[-1]
    half = 2.09 * own["eval/episode_return_std"] / (episodes - 1) ** 0.5  # Student's, 19 degrees
    official = pes_rl.evaluate(run / "policy" / "last", episodes=100)["episode_return_mean"]
    print(f"MJX {own['eval/episode_return']:.2f} ± {half:.2f}, Gymnasium {official:.2f}")
    assert own["eval/episode_return"] > 300
    assert abs(official - own["eval/episode_return"]) <= half
