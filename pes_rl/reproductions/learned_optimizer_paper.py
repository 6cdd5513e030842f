"""The learned optimiser at the papers' size: its parts, and what they show.

From the papers: LOLv2 (`PerWeightMLP`); a classifier with two hidden layers of 128 on
Fashion-MNIST, T = 5000 and staggered clocks (2023); CIFAR-10, T = 1000 and K = 4 (2021). Given
nowhere: how many particles, updates and images a batch has, and the rates. Noise and rates are
those of Li et al. (2023), who train such optimisers with the same estimators on smaller images.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import optax

from pes_rl.problems.learned_optimizer import LearnedOptimizer
from pes_rl.problems.per_weight_mlp import PerWeightMLP
from pes_rl.reproductions.classic_optimizers import CLASSICS, REPORTED, scorer
from pes_rl.reproductions.classic_parts import BATCH, RUNS, Data, classifier, tuning, weights
from pes_rl.reproductions.experiment import Paper, Report
from pes_rl.reproductions.figures import curve, panels
from pes_rl.reproductions.paper import Outcome, Part, images, population
from pes_rl.styles import STYLES

NET = PerWeightMLP()
HOME, SEEDS = (128, 128), (0, 1, 2)
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


def load(name: str) -> Data:
    """Standardised images of one of the data sets."""
    return Data(*images(name).train)


def _load(name: str) -> Data:
    return load(name)  # by its name here, whatever stands for it


def problem(data: Data) -> LearnedOptimizer:
    """What meta-training unrolls."""
    return LearnedOptimizer(classifier(HOME, data), NET)


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
            partial(_load, name),
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
    places = [("home", 1000), *((place, 5000) for place in PLACES)]
    tuned = [
        tuning(place, PLACES[place][1], partial(_load, PLACES[place][0]), T) for place, T in places
    ]
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
