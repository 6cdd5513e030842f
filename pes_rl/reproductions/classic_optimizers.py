"""Training runs of a classifier, and Adam and SGD with the best learning rates of a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.problems.learned_optimizer import Classifier, train
from pes_rl.reproductions.figures import Style

SELECTION, REPORTED = 1000, 2000  # first seeds of the runs that choose, and of those that count
CEILING = 10.0  # loss of a run that has blown up
POINTS = 50  # of a training curve


class Classic(NamedTuple):
    """An optimiser with one learning rate: ``make(rate, T)``, and the ends of the rate's grid."""

    style: Style
    low: float
    high: float
    make: Callable[[Any, int], optax.GradientTransformation]


CLASSICS = {
    "adam": Classic(
        Style("Adam", "#000000", (0, (5, 1)), "x"), 1e-3, 1.0, lambda rate, T: optax.adam(rate)
    ),
    "adam-cosine": Classic(
        Style("Adam, cosine decay", "#7F7F7F", (0, (1, 1)), "+"),
        1e-3,
        1.0,
        lambda rate, T: optax.adam(lambda t: rate * 0.5 * (1 + jnp.cos(jnp.pi * t / T))),
    ),
    "sgd": Classic(
        Style("SGD", "#8C6D31", (0, (3, 1, 1, 1, 1, 1)), "1"),
        1e-2,
        10.0,
        lambda rate, T: optax.sgd(rate),
    ),
    "sgd-momentum": Classic(
        Style("SGD, momentum 0.9", "#CC79A7", (0, (7, 1.5, 1, 1.5)), "2"),
        1e-3,
        1.0,
        lambda rate, T: optax.sgd(rate, 0.9),
    ),
}


class Scores(NamedTuple):
    """Training losses of R settings on E runs.

    Attributes:
      mean: [R, E], over the T batches of a run: what meta-training minimises.
      final: [R, E], of the whole training set after T steps.
      curve: [R, 50], mean over the runs and over a fiftieth of the steps each.
    """

    mean: np.ndarray
    final: np.ndarray
    curve: np.ndarray

    def one(self, i: int) -> Scores:
        """One setting's."""
        return Scores(*(each[i : i + 1] for each in self))


Score = Callable[[Any, int, int], Scores]


def scorer(task: Classifier, make: Callable[[Any], Any], T: int) -> Score:
    """``(settings [R, ...], first seed, runs) -> Scores`` of the optimisers ``make(setting)``."""

    def one(setting: Any, seed: Any):
        losses, weights = train(task, make(setting), jax.random.key(seed), T)
        final = _bounded(task.loss(weights, task.images, task.labels))
        losses = _bounded(losses)
        return losses.mean(), final, losses.reshape(POINTS, -1).mean(axis=1)

    # Settings one after the other: one program, however many there are.
    compiled = jax.jit(jax.vmap(one, (None, 0)))

    def score(settings: Any, first_seed: int, runs: int) -> Scores:
        seeds = jnp.arange(first_seed, first_seed + runs)
        rows = [compiled(each, seeds) for each in jnp.asarray(settings, jnp.float32)]
        mean, final, curves = (np.stack(each).astype(float) for each in zip(*rows, strict=True))
        return Scores(mean, final, curves.mean(axis=1))

    return score


def _bounded(loss: jax.Array) -> jax.Array:
    return jnp.where(loss < CEILING, loss, CEILING)  # NaN too


class Tuned(NamedTuple):
    """A classic optimiser at its best rates by either criterion.

    Attributes:
      rate_mean: rate with the least mean loss of the selection runs.
      rate_final: rate with the least final loss of the selection runs.
      by_mean: the reported runs at the former.
      by_final: the reported runs at the latter.
      at: ``rates -> Scores`` of reported runs, at any rates.
    """

    rate_mean: float
    rate_final: float
    by_mean: Scores
    by_final: Scores
    at: Callable[[Any], Scores]


def tune(name: str, task: Classifier, T: int, grid: int, runs: int) -> Tuned:
    """Search ``grid`` rates, as many orders of magnitude apart as `CLASSICS` says."""
    classic = CLASSICS[name]
    score = scorer(task, lambda rate: classic.make(rate, T), T)
    rates = np.geomspace(classic.low, classic.high, grid)
    tried = score(rates, SELECTION, runs)
    best = [int(each.mean(axis=1).argmin()) for each in (tried.mean, tried.final)]

    def at(rates: Any) -> Scores:
        return score(rates, REPORTED, runs)

    fresh = at(rates[best])
    return Tuned(rates[best[0]], rates[best[1]], fresh.one(0), fresh.one(1), at)
