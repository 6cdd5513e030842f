"""Evaluation lanes: they change no bit of training, and score what an evaluation scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pes_rl.particles.beside import shares
from pes_rl.storage.checkpoint import flatten, unflatten
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure, point_mass

pytestmark = pytest.mark.usefixtures("no_compilation_cache")
RETURN, UPDATES = "eval_lanes/episode_return", "eval_lanes/updates"


def start(lanes: int, chunk: int | None = None) -> DeviceTrainer:
    wanted = {"engine": "mjx", "policy": "mlp", "hidden_sizes": (4,), "eval_lanes": lanes}
    wanted |= {"particle_chunk": chunk}
    return DeviceTrainer(configure(**wanted), environment=point_mass())


def test_training_does_not_see_them():
    without, beside = start(0), start(3)
    scored = []
    for _ in range(60):
        (plain,), (row,) = without.advance(), beside.advance()
        lanes = {name: value for name, value in row.items() if name.startswith("eval_lanes/")}
        assert plain | lanes == row
        scored += [lanes] if lanes else []
    assert len(scored) >= 1 and all(one["eval_lanes/episodes"] >= 3 for one in scored)
    for one in scored:
        least = one["eval_lanes/episode_length"] / 7
        assert least <= one[UPDATES] < least + 1 and one["eval_lanes/drift"] > 0
    want, got = flatten(without.state()), flatten(beside.state())
    assert set(want) < set(got)
    for name, value in want.items():
        np.testing.assert_array_equal(value, got[name], err_msg=name)


def test_nor_where_it_is_unrolled_in_chunks():
    together, chunks = start(3), start(3, chunk=2)
    for _ in range(8):
        together.advance()
        chunks.advance()
    want, got = flatten(together.state()), flatten(chunks.state())
    for name, value in want.items():  # another program, which rounds otherwise
        np.testing.assert_allclose(value, got[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_they_agree_with_an_evaluation_of_a_policy_that_stays_as_it_is():
    config = dataclasses.replace(
        configure(engine="mjx", eval_lanes=16, eval_episodes=400, normalize_observations=False),
        learning_rate=0.0,
    )
    trainer = DeviceTrainer(config, environment=point_mass())
    theta = np.array([0.4, -0.1, -0.02], np.float32)
    state = trainer.state()
    trainer.restore(state._replace(train=state.train._replace(theta=theta, average=theta)))
    rows = [row for _ in range(150) for row in trainer.advance()]
    # The first score is of the episodes that are over first, the short ones.
    scored = [row for row in rows if RETURN in row][1:]
    count = sum(row["eval_lanes/episodes"] for row in scored)
    mean = sum(row["eval_lanes/episodes"] * row[RETURN] for row in scored) / count
    apart = trainer.evaluate()
    error = apart.returns.std() * (1 / count + 1 / len(apart.returns)) ** 0.5
    assert count > 100 and error > 0 and abs(mean - apart.mean) < 3 * error
    assert all(row["eval_lanes/drift"] == 0 for row in scored)
    weights = [row["eval_lanes/episodes"] for row in scored]
    length = np.average([row["eval_lanes/episode_length"] for row in scored], weights=weights)
    # They last as long as the task's, whatever the horizon of training, which is 33.
    assert length > 40 and abs(length / apart.lengths.mean() - 1) < 0.1


def test_an_episode_without_an_end_is_over_at_the_tasks_time_limit():
    config = configure(engine="mjx", eval_lanes=2, segment_length=33)
    trainer = DeviceTrainer(config, environment=point_mass(bound=np.inf))
    rows = [row for _ in range(70) for row in trainer.advance()]
    scored = [row for row in rows if RETURN in row]
    assert scored and all(
        row["eval_lanes/episode_length"] == config.episode_length for row in scored
    )


def test_a_resumed_run_has_the_same_scores():
    straight, second = start(3), start(3)
    for _ in range(20):
        straight.advance()
    second.restore(unflatten(second.state(), flatten(straight.state())))
    rows = [straight.advance() for _ in range(40)]
    assert [second.advance() for _ in range(40)] == rows
    assert sum(RETURN in row for (row,) in rows) >= 1
    # A further start has lanes of its own.
    before = second.state().lanes
    second.begin_anew(1)
    after = second.state().lanes
    np.testing.assert_array_equal(after.begun, before.begun)  # whose episodes are not seen again
    assert before.begun.any() and before.updates.any() and not after.updates.any()
    assert after.scores.number == 0 and not after.first.any()
    second.advance()


def test_every_one_is_found_wherever_they_play():
    for number, parts in ((16, 1), (16, 4), (3, 2), (2, 8), (7, 3)):
        dealt = shares(number, parts)
        found = dealt.rows[dealt.part, dealt.place]
        np.testing.assert_array_equal(found, np.arange(number))
        assert dealt.rows.shape == (parts, -(-number // parts))
