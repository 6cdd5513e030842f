"""Swimmer's trainings: they go on bit for bit, and take the authors' steps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.estimators import pes
from pes_rl.estimators.core import Segment
from pes_rl.estimators.shaping import Shaping
from pes_rl.reproductions import climbs, swimmer
from pes_rl.reproductions.climbs import climb, first_at_least


class KilledError(Exception):
    """The process ended here."""


def small(seed: int = 3):
    size = swimmer.Size((), (), 1000, 400)
    made = swimmer.config("pes", seed, size)
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


def test_steps_to_a_return():
    one = climbs.Climb(np.array([0, 10, 20]), np.array([1.0, 3.0, 2.0]))
    assert (first_at_least(one, 2), first_at_least(one, 4)) == (10, np.inf)


def test_an_update_is_the_authors():
    """Theirs: theta += step / (N std) * sum over all members of return times summed noise."""
    std, step = swimmer.AUTHORS["pes"]
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
        rate = swimmer.config("pes", 3, swimmer.QUICK).learning_rate
        theirs = step / (3 * returns.std()) * ((returns[:, 0] - returns[:, 1]) @ xi)
        moves.append((-rate * np.asarray(gradient), theirs))
    for ours, theirs in moves:
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
