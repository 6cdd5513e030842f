"""The learned optimiser at the papers' size: its parts, and what they show.

From the papers: LOLv2 (`PerWeightMLP`); a classifier with two hidden layers of 128 on
Fashion-MNIST, T = 5000 and staggered clocks (2023); CIFAR-10, T = 1000 and K = 4 (2021). Given
nowhere: how many particles, updates and images a batch has, and the rates. Noise and rates are
those of Li et al. (2023), who train such optimisers with the same estimators on smaller images.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.problems.learned_optimizer import Classifier, LearnedOptimizer, Training, train_step
from pes_rl.problems.per_weight_mlp import PerWeightMLP
from pes_rl.reproductions.classic_optimizers import CEILING, CLASSICS, REPORTED, scorer
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.figures import curve, panels
from pes_rl.reproductions.paper import Outcome, Part, Program, Spread, images, population
from pes_rl.styles import STYLES

NET = PerWeightMLP()
HOME, BATCH, SEEDS = (128, 128), 128, (0, 1, 2)
PAIRS, STD, BUDGET = 8, 0.01, 200_000  # budget: inner steps of one particle
ONLINE = ("truncated-es", "pes", "es-single")
RATES = {"truncated-es": 1e-3, "pes": 3e-4, "es-single": 3e-4, "es": 3e-2}
TIMES = {5000: (4, 20), 1000: (4, 20)}  # T, and its K
# Other networks and data that an optimiser is tried on, and the ones that it was trained on.
PLACES: dict[str, tuple[str, tuple[int, ...]]] = {
    "home": ("fashion-mnist", HOME),
    "narrow": ("fashion-mnist", (32, 32)),
    "wide": ("fashion-mnist", (512, 512)),
    "deep": ("fashion-mnist", (128, 128, 128, 128)),
    "mnist": ("mnist", HOME),
}
RUNS, GRID, STRIDE = 4, 7, 50  # classifiers per optimiser; rates of a grid; steps of an update


class Data(NamedTuple):
    """Images [n, pixels] and labels [n] to train on."""

    images: Any
    labels: Any


def load(name: str) -> Data:
    """Standardised images of one of the data sets."""
    return Data(*images(name).train)


def classifier(hidden: tuple[int, ...], data: Data) -> Classifier:
    """A network that learns to tell these images apart."""
    return Classifier(data.images, data.labels, hidden, BATCH)


def problem(data: Data) -> LearnedOptimizer:
    """What meta-training unrolls."""
    return LearnedOptimizer(classifier(HOME, data), NET)


def weights(hidden: tuple[int, ...], pixels: int = 784) -> int:
    """How many a classifier has."""
    sizes = (pixels, *hidden, 10)
    return sum((n + 1) * m for n, m in itertools.pairwise(sizes))


def flops(pixels: int = 784) -> float:
    """Of an inner step: a batch forward and back, and the optimiser's network for each weight."""
    return weights(HOME, pixels) * (6.0 * BATCH + 2 * NET.num_params)


def judge(rows: list[dict[str, Any]], name: str, T: int) -> dict[str, Any]:
    """Train with the last theta of every seed, at home and away."""
    last = {
        seed: theta for row in rows for seed, theta in zip(row["seeds"], row["theta"], strict=True)
    }
    found: dict[str, Any] = {}
    for place, (data, hidden) in PLACES.items():
        task = classifier(hidden, load(name if place == "home" else data))
        scores = scorer(task, NET.optimizer, T)(list(last.values()), REPORTED, RUNS)
        found[place] = {
            "mean": scores.mean.mean(axis=1).tolist(),
            "final": scores.curve[:, -1].tolist(),
            "curve": scores.curve.tolist(),
        }
    return found


def meta_training(name: str, style: str, T: int, K: int) -> Part:
    """One estimator on one data set, with as many inner steps as all others."""
    segment = T if style == "es" else K
    label = style if style == "es" else f"{style}-K{K}"
    return Part(
        name=f"{label}-T{T}" + f"-{name}" * (name != "fashion-mnist"),
        updates=max(1, BUDGET // segment),
        seeds=SEEDS,
        pairs=PAIRS,
        steps=2 * PAIRS * segment,
        flops=flops(3072 if name == "cifar-10" else 784),
        make=population(
            problem,
            lambda: load(name),
            NET.initial_theta,
            optax.adam(RATES[style]),
            style=style,
            pairs=PAIRS,
            perturb_std=STD,
            segment_length=segment,
            horizon=T,
            staggered=style != "es",
        ),
        judge=partial(judge, name=name, T=T),
        settings={"perturb_std": STD, "rate": RATES[style], "batch": BATCH, "hidden": HOME},
    )


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


def tuning(place: str, T: int) -> Part:
    """Adam and stochastic gradient descent with every rate of a grid, on one network."""
    name, hidden = PLACES[place]
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

        return Program(load(name), start, update, look, False)

    return Part(
        name=f"tuned-{place}-T{T}",
        updates=T // STRIDE,
        seeds=(0,),
        pairs=1,
        steps=STRIDE * len(grids) * GRID * 2 * RUNS,
        flops=6.0 * weights(hidden) * BATCH,
        make=make,
        judge=partial(best, grids=grids),
        settings={"hidden": hidden, "data": name, "batch": BATCH, "rates": GRID},
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


def parts() -> tuple[Part, ...]:
    """Meta-trainings on Fashion-MNIST and on CIFAR-10, and what they are held against."""
    meta = [
        meta_training("fashion-mnist", style, T, K)
        for T, Ks in TIMES.items()
        for K in Ks
        for style in ONLINE
    ]
    meta += [meta_training("fashion-mnist", "es", T, T) for T in TIMES]
    meta += [meta_training("cifar-10", style, 1000, 4) for style in ("truncated-es", "pes")]
    tuned = [tuning("home", 1000), *(tuning(place, 5000) for place in PLACES)]
    return (*meta, *tuned)


def conclude(outcomes: dict[str, Outcome], report: Report) -> None:
    """Claims of the parts that are complete, curves of all."""
    done = {name: one.result for name, one in outcomes.items() if one.result is not None}
    for T, Ks in TIMES.items():
        for K in Ks:
            _judge(done, T, K, report)
    drawn = {name: one for name, one in outcomes.items() if not name.startswith("tuned")}
    drawn = {name: one for name, one in drawn.items() if len(one.rows) > 1}
    report.result(parts=done)
    if drawn:
        report.figure("learned-optimizer-paper", _figure(drawn))


def _judge(done: dict[str, Any], T: int, K: int, report: Report) -> None:
    own = {style: done[f"{style}-K{K}-T{T}"] for style in ONLINE if f"{style}-K{K}-T{T}" in done}
    for style in ("pes", "es-single"):
        if style not in own:
            continue
        label, setting = STYLES[style].label, f"T = {T}, K = {K}"
        for place in PLACES:
            tuned = done.get(f"tuned-{place}-T{T}")
            if tuned is not None:
                least = min(tuned.items(), key=lambda item: item[1]["final"])[0]
                mine = np.array(own[style][place]["final"])
                report.claim(
                    f"{setting}, {place}: {label}'s optimiser ends lower than tuned Adam and SGD",
                    "Vicol et al. 2021 and 2023, as summarised",
                    f"final training loss {_range(mine)}; best, {CLASSICS[least].style.label}, "
                    f"{tuned[least]['final']:.4f}",
                    mine.max() < tuned[least]["final"],
                )
        for other in ("truncated-es", "es"):
            theirs = own.get(other) or done.get(f"{other}-T{T}")
            if theirs is not None:
                mine, them = (np.array(one["home"]["mean"]) for one in (own[style], theirs))
                report.claim(
                    f"{setting}: {label} meta-trains better than {STYLES[other].label}",
                    "Vicol et al. 2021 and 2023, as summarised",
                    f"mean training loss {_range(mine)} against {_range(them)}",
                    mine.max() < them.min(),
                )


def _range(values: np.ndarray) -> str:
    return f"{np.median(values):.4f} ({values.min():.4f} to {values.max():.4f})"


def _figure(drawn: dict[str, Outcome]) -> Any:
    """Mean loss of the particles against inner steps, a panel for every T and K."""
    settings = sorted({name.split("-K")[-1] for name in drawn if "-K" in name})
    fig, axes = panels(max(1, len(settings)), size=(3.8, 3.4))
    for axis, setting in zip(axes, settings or [""], strict=True):
        for name, one in drawn.items():
            style = next(s for s in sorted(STYLES, key=len, reverse=True) if name.startswith(s))
            if name.endswith(f"-K{setting}") or (style == "es" and name[3:] in setting):
                per_step = one.column("loss") / np.maximum(one.column("steps"), 1)
                steps = one.updates * one.part.steps / (2 * PAIRS)
                curve(axis, steps, per_step, STYLES[style])
        axis.set(title=f"K = {setting.replace('-T', ', T = ')}", xlabel="inner steps of a particle")
        axis.set(ylabel="mean training loss", yscale="log")
        axis.legend()
    return fig


PAPER = Paper(parts, conclude)
