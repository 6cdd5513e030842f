"""Runs whose simulations break down, and runs that learn nothing: what is said and refused."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.particles.scoring import make_scorer
from pes_rl.policies import make_policy
from pes_rl.policies.normalizer import Affine
from pes_rl.runs.health import Health
from pes_rl.runs.run import train_from_config
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.metrics import read_metrics
from pes_rl.storage.policy import load_policy
from pes_rl.training.host import HostTrainer
from pes_rl.training.protocol import Evaluation
from tests.tools.toy_environment import PAIRS, PointMassSimulator, configure, point_mass

CONFIG = configure(num_env_steps=600, eval_every=150, eval_episodes=3)
pytestmark = pytest.mark.usefixtures("shared_programs")


class Broken(PointMassSimulator):
    """Every simulation breaks down at its first step."""

    breaks = -np.inf


def test_a_run_in_which_everything_breaks_down_is_an_error(tmp_path, capsys):
    def make(config, processes):
        return HostTrainer(config, make_simulator=lambda n, _: Broken(n))

    with pytest.raises(UserError, match="broke down in every update"):
        train_from_config(CONFIG, tmp_path / "run", "test", make=make)
    table = read_metrics(tmp_path / "run")
    scored = [row for row in table if "eval/episodes" in row]
    assert len(scored) > 1 and all(row["eval/broken_episodes"] == 3 for row in scored)
    assert all(
        row["eval/episode_return"] is row["eval/episode_return_std"] is None for row in scored
    )
    assert [p.name for p in (tmp_path / "run" / "policy").iterdir()] == ["last"]
    assert load_policy(tmp_path / "run").scores["episode_return"] is None
    assert load_latest(tmp_path / "run").meta["update"] == table[-1]["update"]
    lines = capsys.readouterr().err.splitlines()
    [warning] = [line for line in lines if "warning" in line]
    assert "3 of 3 evaluation episodes broke down" in warning
    assert ": return none, best none, " in lines[-1]


def test_a_broken_evaluation_is_never_the_best(tmp_path):
    made = []

    def make(config, processes):
        def simulator(n, _):
            made.append(PointMassSimulator(n, bound=np.inf))
            return made[-1]

        return HostTrainer(config, make_simulator=simulator)

    def spoil(row):
        if "eval/episodes" in row:
            made[0].breaks = -np.inf  # what scores

    run = train_from_config(CONFIG, tmp_path / "run", "test", callback=spoil, make=make)
    first, *others = [row for row in run.metrics if "eval/episodes" in row]
    assert first["eval/broken_episodes"] == 0 and others
    assert all(row["eval/episode_return"] is None for row in others)
    assert run.best_return == first["eval/episode_return"] and math.isnan(run.last_return)
    assert run.policy.scores["env_steps"] == first["env_steps"]


def test_an_evaluation_with_a_broken_episode_has_no_mean():
    lengths = np.ones(3)
    assert Evaluation(np.array([1.0, 2, 3]), lengths).mean == 2
    for bad in (np.nan, np.inf):
        found = Evaluation(np.array([1, bad, 3]), lengths)
        assert found.broken == 1 and math.isnan(found.mean) and math.isnan(found.std)


def test_on_devices_the_return_of_a_broken_episode_is_nan():
    plain = point_mass(bound=np.inf)

    def step(state, action):
        state, out = plain.step(state, action)
        return state, out._replace(reward=jnp.where(state.x > 0, out.reward, jnp.nan))

    policy = make_policy("linear", 3, 1, (), "tanh")
    both = [
        make_scorer(environment, policy, 0, 16, 2)(
            jnp.zeros(policy.num_params), Affine.identity(3), jnp.uint32(1), jnp.uint32(0)
        )
        for environment in (plain, plain._replace(step=step))
    ]
    (sound, whole), (returns, lengths) = both
    broken = np.isnan(returns)
    assert 0 < broken.sum() < 16 and (np.asarray(lengths)[~broken] == 2).all()
    np.testing.assert_array_equal(np.asarray(returns)[~broken], np.asarray(sound)[~broken])
    assert not np.isnan(sound).any() and (np.asarray(whole) == 2).all()


def counted(*rows: tuple[float, int]) -> Health:
    """The health after updates with these gradient norms and numbers of broken particles."""
    health = Health()
    for norm, invalid in rows:
        health.count({"train/grad_norm": norm, "train/invalid_particles": invalid})
    return health


IDLE, BARREN, SOUND = (0.0, 0), (0.0, 2 * PAIRS), (1.0, 1)


@pytest.mark.parametrize(
    ("rows", "best", "words"),
    [
        ([BARREN] * 3, 1.0, "in every update"),
        ([SOUND] + [BARREN] * 100, -math.inf, "in the last 100 updates and"),
        ([SOUND] + [BARREN] * 100, 1.0, None),
        ([SOUND] + [BARREN] * 99, -math.inf, None),
        ([BARREN] * 100 + [SOUND], -math.inf, None),
        ([IDLE] * 200, -math.inf, None),
        ([], -math.inf, None),
    ],
)
def test_when_a_run_has_come_to_nothing(rows, best, words):
    failure = counted(*rows).failure(len(rows), best)
    assert failure is None if words is None else words in str(failure)


def test_most_updates_moved_nothing():
    assert counted(IDLE, SOUND).remark(2) is None
    assert "2 of 3 updates moved nothing, for all particles" in str(
        counted(IDLE, SOUND, IDLE).remark(3)
    )
    assert "for simulations broke down" in str(counted(BARREN, IDLE, BARREN).remark(3))
    assert Health.of({"health": {"idle": 2, "broken": 1, "barren": 0}}).idle == 2
