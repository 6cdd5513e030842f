"""Copy task and character model: trainings side by side, the search, and both quick variants."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.problems import Step
from pes_rl.reproductions.recurrent import RATES, SIGMAS, Course, Lane, Rows, Scheme, program, tune


class Bowl:
    """A problem of one step with a known optimum; a lesson moves it."""

    def __init__(self, lesson):
        self.lesson = lesson

    def initial_theta(self, key):
        return jax.random.normal(key, (2,))

    def init(self, key, theta):
        return jnp.zeros(())

    def step(self, key, theta, carry):
        return carry, Step(((theta - self.lesson) ** 2).sum(), True)


BOWL = Course(
    problem=Bowl,
    lesson=lambda key: jnp.zeros(()),
    look=lambda theta, lesson: (lesson + 1, theta),
)

pytestmark = pytest.mark.usefixtures("optimized")
DESCENT = Scheme("truncated-bptt", particles=4, segment_length=1, horizon=1)


def test_lanes_run_side_by_side_until_the_budget_is_spent():
    run = program(BOWL, DESCENT)
    lanes = [Lane(0, 1e-2, 0.0), Lane(1, 3e-2, 0.0)]
    state, rows = run(lanes, 2, 17)
    np.testing.assert_array_equal(rows.steps, [[8, 16, 24]] * 2)  # 2 updates of 4 particles a look
    np.testing.assert_array_equal(state.lesson, [3, 3])
    np.testing.assert_array_equal(rows.invalid, 0)
    alone = run(lanes[1:], 2, 17)[1]
    np.testing.assert_allclose(alone.seen[0], rows.seen[1], rtol=1e-6)
    # Adam's first two steps are as long as its rate.
    moved = abs(rows.seen[:, 0] - np.stack(start(lanes)))
    np.testing.assert_allclose(moved, [[0.02] * 2, [0.06] * 2], rtol=0.1)


def test_a_lesson_changes_the_problem():
    _, rows = program(BOWL, DESCENT)([Lane(0, 0.1, 0.0)], 100, 800)
    np.testing.assert_allclose(rows.seen[0], [[0, 0], [1, 1]], atol=0.2)


def start(lanes: list[Lane]) -> list:
    """Where the seeds begin: the first of the three keys of a seed draws theta."""
    keys = [jax.random.split(jax.random.key(lane.seed), 3)[0] for lane in lanes]
    return [Bowl(0).initial_theta(key) for key in keys]


def fake_run(lanes, updates, budget):
    """Lanes whose outcome is their distance from the rate 1e-2 and the sigma 0.3."""
    miss = [[abs(np.log(lane.rate / 1e-2)) + abs(lane.sigma - 0.3)] for lane in lanes]
    return None, Rows(np.full((len(lanes), 1), budget), None, np.array(miss))


def miss(rows: Rows) -> np.ndarray:
    return rows.seen[:, -1]


def test_the_search_visits_the_grid_and_puts_the_best_first():
    found = tune(fake_run, Scheme("pes", 4, 1, 6), miss, 1, 10)
    assert (found[0].rate, found[0].sigma) == (1e-2, 0.3)
    assert {one[:2] for one in found} == {(rate, sigma) for rate in RATES for sigma in SIGMAS}
    assert [one.rate for one in tune(fake_run, DESCENT, miss, 1, 10)] == sorted(RATES)


def test_a_search_never_chooses_what_is_no_number():
    def broken(rows: Rows) -> np.ndarray:
        return np.where(miss(rows) < 1e-3, np.nan, miss(rows))

    found = tune(fake_run, Scheme("pes", 4, 1, 6), broken, 1, 10)
    assert found[-1].score == np.inf and found[-1][:2] == (1e-2, 0.3)


def quick(name: str, tmp_path) -> dict:
    """The record of an experiment's quick variant."""
    assert main(["reproduce", name, "--size", "quick", "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert (tmp_path / f"{name}.svg").stat().st_size > 10_000
    return json.loads((tmp_path / "result.json").read_text())


@pytest.mark.slow
def test_copy_task(tmp_path):
    """Methods that see beyond one step copy longer sequences than those that do not."""
    methods = quick("copy-task", tmp_path)["results"]["methods"]
    reached = {name: one["reached"][0] for name, one in methods.items()}
    assert reached["truncated-bptt"] < 2 <= min(reached["pes"], reached["es-single"])
    assert reached["truncated-es"] < 2
    bits = {name: one["bits_by_length"][0][1] for name, one in methods.items()}
    assert max(bits["pes"], bits["es-single"]) + 0.15 < bits["truncated-es"]


def test_character_model(tmp_path):
    """Backpropagation learns most; ES-Single learns, without derivatives, more than PES."""
    found = quick("character-model", tmp_path)["results"]
    bits = {name: one["bits"][0][-1] for name, one in found["tracks"].items()}
    assert bits["truncated-bptt"] + 0.4 < bits["es-single"] < found["unigram_bits"] - 0.15
    assert bits["es-single"] + 0.15 < bits["pes"]
    assert bits["truncated-es"] < found["unigram_bits"] - 0.2
