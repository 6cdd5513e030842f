"""Swimmer's trainings: they go on bit for bit, and take the authors' steps."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.estimators import pes
from pes_rl.estimators.core import Segment
from pes_rl.estimators.shaping import Shaping
from pes_rl.reproductions import climbs, swimmer_paper, swimmer_trainings
from pes_rl.reproductions.climbs import climb, first_at_least
from pes_rl.reproductions.experiment import Report
from pes_rl.reproductions.paper import climbing
from pes_rl.reproductions.paper.files import outcome
from pes_rl.reproductions.paper.part import Ask, Part
from pes_rl.reproductions.paper.run import run_part
from pes_rl.storage.checkpoint import load_latest
from tests.tools.run_tools import StopAfter


class KilledError(Exception):
    """The process ended here."""


def small(seed: int = 3):
    size = swimmer_trainings.Size((), (), 1000, 400)
    made = swimmer_trainings.config("pes", seed, size)
    return dataclasses.replace(made, num_pairs=1, horizon=200, eval_episodes=1, num_threads=1)


def test_a_training_that_was_cut_off_goes_on_bit_for_bit(tmp_path, monkeypatch):
    found: list[int] = []

    def scored(env_steps: int, before: bool) -> None:
        if before:
            found.append(env_steps)

    whole = climb(small(), tmp_path / "whole", scored)
    assert list(whole.env_steps) == [0, 400, 800, 1000] and not found
    make = climbs.make_trainer

    def mortal(config):
        trainer = make(config)
        advance = trainer.advance

        def until():
            if trainer.env_steps >= 600:
                raise KilledError
            return advance()

        monkeypatch.setattr(trainer, "advance", until)
        return trainer

    monkeypatch.setattr(climbs, "make_trainer", mortal)
    with pytest.raises(KilledError):
        climb(small(), tmp_path / "cut", scored)
    monkeypatch.setattr(climbs, "make_trainer", make)
    again = climb(small(), tmp_path / "cut", scored)
    assert found == [400]
    np.testing.assert_array_equal(again.returns, whole.returns)
    np.testing.assert_array_equal(again.env_steps, whole.env_steps)


def test_another_configuration_begins_anew(tmp_path):
    shorter = dataclasses.replace(small(), num_env_steps=400)
    for other in (shorter, dataclasses.replace(shorter, seed=4)):
        found: list[bool] = []
        climb(other, tmp_path, lambda _, before, found=found: found.append(before))
        assert found == [False, False]


def swimming() -> Part:
    return Part("pes", 5, (3, 4), 1, 200, 1.0, train=partial(climbing.train, small))


def test_a_part_of_trainings_is_stopped_and_goes_on_bit_for_bit(tmp_path):
    said: list[str] = []
    whole = run_part(swimming(), tmp_path / "whole", Ask((), said.append, 3))
    assert said[0].startswith("pes: 1 threads, one seed after the other, predicted peak ")
    assert not whole.complete and whole.progress == "pes: 4 of 10 updates recorded"
    # A look before the first seed, and one before each of its updates.
    run_part(swimming(), tmp_path / "cut", Ask(StopAfter(2), said.append, 3))
    seeds = tmp_path / "cut/checkpoints"
    assert [one.name for one in seeds.iterdir()] == ["seed-3"]
    assert load_latest(seeds / "seed-3").path.name == "000000000200"
    cut = run_part(swimming(), tmp_path / "cut", Ask((), said.append, 3))
    assert cut.rows == whole.rows
    for seed in ("seed-3", "seed-4"):
        a, b = (load_latest(tmp_path / x / "checkpoints" / seed) for x in ("whole", "cut"))
        assert a.path.name == "000000000600" and a.arrays.keys() == b.arrays.keys()
        for name, array in a.arrays.items():
            np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)
    spent = json.loads((tmp_path / "cut/cost.json").read_text())
    assert spent["memory_predicted"] > 10**8 and spent["seconds_per_update_and_seed"] > 0
    with pytest.raises(UserError, match="has no chunks; leave it out"):
        run_part(swimming(), tmp_path / "cut", Ask((), said.append, chunk=1))


def test_swimmer_s_claims_wait_for_the_parts_they_are_about(tmp_path):
    parts = {one.name: one for one in swimmer_paper.parts()}
    assert [one.updates for one in parts.values()] == [25, 250, 250, 250]
    found = {name: outcome(one, tmp_path / name) for name, one in parts.items()}
    for name, ends in (("pes", (160.0, 170.0)), ("es-single", (170.0, 175.0))):
        rows = [
            {"update": u, "seeds": [seed], "env_steps": [2000 * u], "return": [value]}
            for seed, end in zip((3, 5), ends, strict=True)
            for u, value in ((0, 0.0), (250, end))
        ]
        found[name] = found[name]._replace(rows=rows, result={})
    report = Report("swimmer", tmp_path, lambda line: None)
    swimmer_paper.conclude(found, report)
    assert [one.holds for one in report.claims] == [None, True, None, True]
    assert report.claims[0].measured == "truncated-es: 0 of 1500 updates recorded"
    assert (tmp_path / "swimmer-paper.png").exists()


def test_steps_to_a_return():
    one = climbs.Climb(np.array([0, 10, 20]), np.array([1.0, 3.0, 2.0]))
    assert (first_at_least(one, 2), first_at_least(one, 4)) == (10, np.inf)


def test_an_update_is_the_authors():
    """Theirs: theta += step / (N std) * sum over all members of return times summed noise."""
    std, step = swimmer_trainings.AUTHORS["pes"]
    estimator = pes(3, std, 5, 10, shaping=Shaping("std"), staggered=False)
    rng, theta = np.random.default_rng(0), jnp.zeros(4)
    state = estimator.init(jax.random.key(0), theta)
    xi, moves = np.zeros((3, 4)), []
    for _ in range(2):
        plan, state = estimator.perturb(state)
        xi = xi + np.asarray(plan.noise)
        returns = rng.normal(size=(3, 2)).astype(np.float32)
        flags = jnp.zeros((3, 2), bool)
        segment = Segment(jnp.asarray(-returns), jnp.full((3, 2), 5), flags, flags)
        gradient, state, _ = estimator.gradient(state, segment)
        rate = small().learning_rate
        theirs = step / (3 * returns.std()) * ((returns[:, 0] - returns[:, 1]) @ xi)
        moves.append((-rate * np.asarray(gradient), theirs))
    for ours, theirs in moves:
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
