"""Adam and stochastic gradient descent at the papers' size: every rate of a grid, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.problems.learned_optimizer import Classifier, Training, train_step
from pes_rl.reproductions.classic_optimizers import CEILING, CLASSICS, REPORTED
from pes_rl.reproductions.paper import Part, Program, Spread

BATCH = 128
RUNS, GRID, STRIDE = 4, 7, 50  # classifiers per optimiser; rates of a grid; steps of an update


class Data(NamedTuple):
    """Images [n, pixels] and labels [n] to train on."""

    images: Any
    labels: Any


def classifier(hidden: tuple[int, ...], data: Data) -> Classifier:
    """A network that learns to tell these images apart."""
    return Classifier(data.images, data.labels, hidden, BATCH)


def weights(hidden: tuple[int, ...], pixels: int = 784) -> int:
    """How many a classifier has."""
    sizes = (pixels, *hidden, 10)
    return sum((n + 1) * m for n, m in itertools.pairwise(sizes))


class Trainings(NamedTuple):
    """Classifiers by optimiser, leaves [rates, 2 runs, ...], and what they lost since the last row.

    Attributes:
      training: a `Training` by the optimiser's name.
      lost: [rates, 2 runs] by name, sums over the steps.
      t: int32, steps made.
      since: int32, of these since the last row.
    """

    training: dict[str, Training]
    lost: dict[str, Any]
    t: Any
    since: Any


def tuning(place: str, hidden: tuple[int, ...], load: Callable[[], Data], T: int) -> Part:
    """Adam and stochastic gradient descent with every rate of a grid, on one network."""
    grids = {n: np.geomspace(c.low, c.high, GRID).astype(np.float32) for n, c in CLASSICS.items()}

    def make(spread: Spread) -> Program:
        del spread  # these are few

        def start(data: Data, key: Any) -> Trainings:
            task, keys = classifier(hidden, data), jax.random.split(key, 2 * RUNS)

            def one(rate: Any, key: Any, own: str) -> Training:
                made = task.initial_weights(key)
                return Training(made, CLASSICS[own].make(rate, T).init(made))

            training = {n: _grid(partial(one, own=n), rates, keys) for n, rates in grids.items()}
            nothing = {n: jnp.zeros((GRID, 2 * RUNS)) for n in grids}
            return Trainings(training, nothing, jnp.int32(0), jnp.int32(0))

        def update(data: Data, state: Trainings):
            task = classifier(hidden, data)
            keys = jax.random.split(jax.random.key(REPORTED), 2 * RUNS)

            def step(state: Trainings, _: Any) -> tuple[Trainings, None]:
                training, lost = dict(state.training), dict(state.lost)

                def one(rate: Any, key: Any, now: Training, own: str):
                    optimizer = CLASSICS[own].make(rate, T)
                    return train_step(task, optimizer, jax.random.fold_in(key, state.t), now)

                for n, rates in grids.items():
                    training[n], loss = _grid(partial(one, own=n), rates, keys, training[n])
                    lost[n] = lost[n] + jnp.where(loss < CEILING, loss, CEILING)
                return Trainings(training, lost, state.t + 1, state.since + 1), None

            state, _ = jax.lax.scan(step, state, length=STRIDE)
            return state, {"steps": jnp.int32(STRIDE * len(grids) * GRID * 2 * RUNS)}

        def look(data: Data, state: Trainings):
            del data
            seen = {n: lost / jnp.maximum(state.since, 1) for n, lost in state.lost.items()}
            zero = jax.tree.map(jnp.zeros_like, state.lost)
            return state._replace(lost=zero, since=jnp.zeros_like(state.since)), seen

        return Program(load(), start, update, look, False)

    return Part(
        name=f"tuned-{place}-T{T}",
        updates=T // STRIDE,
        seeds=(0,),
        pairs=1,
        steps=STRIDE * len(grids) * GRID * 2 * RUNS,
        flops=6.0 * weights(hidden) * BATCH,
        make=make,
        judge=partial(best, grids=grids),
        settings={"hidden": hidden, "batch": BATCH, "rates": GRID},
    )


def _grid(f: Any, rates: Any, keys: Any, *state: Any) -> Any:
    """``f(rate, key, state)`` over rates and keys, leaves [rates, keys, ...]."""
    over_keys = jax.vmap(f, (None, 0, *(0 for _ in state)))
    return jax.vmap(over_keys, (0, None, *(0 for _ in state)))(jnp.asarray(rates), keys, *state)


def best(rows: list[dict[str, Any]], grids: dict[str, Any]) -> dict[str, Any]:
    """Of every optimiser, the reported runs at the rate where the other runs end lowest."""
    found = {}
    for name, rates in grids.items():
        curves = np.array([row[name][0] for row in rows])  # [rows, rates, 2 runs]
        i = int(curves[-1, :, :RUNS].mean(axis=1).argmin())
        curve = curves[:, i, RUNS:].mean(axis=1)
        found[name] = {
            "rate": float(rates[i]),
            "mean": float(curve.mean()),
            "final": float(curve[-1]),
            "curve": curve.tolist(),
        }
    return found
