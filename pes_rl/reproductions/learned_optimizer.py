"""A learned optimiser: meta-trained on an image classifier, against tuned Adam and SGD."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.estimators import ESTIMATORS
from pes_rl.problems.datasets import Images
from pes_rl.problems.learned_optimizer import Classifier, LearnedOptimizer, OptimizerNet
from pes_rl.problems.small_images import small_images
from pes_rl.reproductions.classic_optimizers import (
    CLASSICS,
    POINTS,
    REPORTED,
    SELECTION,
    Score,
    Scores,
    Tuned,
    scorer,
    tune,
)
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import curve, letters, panels
from pes_rl.reproductions.learned_optimizer_paper import PAPER
from pes_rl.styles import STYLES
from pes_rl.unrolled import evolution, minimize

NET = OptimizerNet()
HIDDEN, HELD_OUT = (16,), (32, 32)
BATCH, SIGMA = 16, 0.05
PAPERS, HERE = "Vicol et al. 2021 and 2023, as summarised", "here"


class Size(NamedTuple):
    """How much is computed.

    Attributes:
      horizon: T, inner steps of an episode.
      segment: K.
      pairs: antithetic pairs of every estimator.
      updates: meta-updates.
      rates: meta-learning rates searched, for every estimator.
      seeds: meta-trainings for every rate.
      records: moments of a meta-training at which its theta is scored.
      runs: classifiers trained to choose (a rate, a moment), and as many fresh ones to report.
      methods: the estimators.
      classics: the optimisers to beat.
      grid: learning rates searched for each of them.
      held_out: whether the other architecture is looked at too.
    """

    horizon: int
    segment: int
    pairs: int
    updates: int
    rates: tuple[float, ...]
    seeds: int
    records: int
    runs: int
    methods: tuple[str, ...]
    classics: tuple[str, ...]
    grid: int
    held_out: bool


ALL = ("truncated-es", "pes", "es-single")
FULL = Size(1000, 20, 8, 6000, (3e-3, 1e-2), 3, 20, 8, ALL, tuple(CLASSICS), 13, True)
QUICK = Size(200, 10, 4, 1000, (1e-2,), 1, 5, 4, ("truncated-es", "es-single"), ("sgd",), 7, False)


def classifier(data: Images, hidden: tuple[int, ...]) -> Classifier:
    """Images of few pixels, standardised: so few that the training loss does not vanish."""
    images = (data.images - data.images.mean()) / data.images.std()
    return Classifier(jnp.asarray(images), jnp.asarray(data.labels), hidden, BATCH)


class Learned(NamedTuple):
    """Meta-trainings with one estimator at its best rate.

    Attributes:
      style: key of `STYLES`.
      rate: the meta-learning rate chosen.
      searched: [rates], best mean loss of the selection runs, median over the seeds.
      steps: [records + 1], inner steps of all particles.
      progress: [seeds, records + 1], mean loss of the selection runs.
      theta: [seeds, P], of every seed's best moment.
    """

    style: str
    rate: float
    searched: list[float]
    steps: np.ndarray
    progress: np.ndarray
    theta: np.ndarray


def meta_train(style: str, task: Classifier, size: Size, score: Score, report: Report) -> Learned:
    """Search the meta-learning rate; of every seed keep the moment that trains best."""
    estimator = ESTIMATORS[style](size.pairs, SIGMA, size.segment, size.horizon)
    method = evolution(LearnedOptimizer(task, NET), estimator)
    starts = jnp.stack([NET.initial_theta(jax.random.key(s)) for s in range(size.seeds)])
    tried = []
    for rate in size.rates:
        history = minimize(
            method, optax.adam(rate), starts, range(size.seeds), size.updates, records=size.records
        )
        flat = history.theta.reshape(-1, NET.num_params)
        scores = score(flat, SELECTION, size.runs).mean.mean(axis=1)
        progress = scores.reshape(size.seeds, -1)
        theta = history.theta[np.arange(size.seeds), progress.argmin(axis=1)]
        tried.append(Learned(style, rate, [], history.steps[0], progress, theta))
        report.note(f"{STYLES[style].label}, rate {rate:g}: {spread(progress.min(axis=1))}")
    searched = [float(np.median(one.progress.min(axis=1))) for one in tried]
    return tried[int(np.argmin(searched))]._replace(searched=searched)


def spread(values: np.ndarray) -> str:
    """Range over the meta-trainings."""
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.3f}" if len(np.ravel(values)) == 1 else f"{low:.3f} to {high:.3f}"


class Arena(NamedTuple):
    """One architecture: the optimisers tuned on it, and the learned ones' reported runs."""

    title: str
    classics: dict[str, Tuned]
    learned: dict[str, Scores]


def arena(title: str, task: Classifier, score: Score, size: Size, learned: list[Learned]) -> Arena:
    """Every optimiser on one architecture; ``score`` are its runs with learned ones."""
    layers = (task.images.shape[1], *task.hidden, task.classes)
    return Arena(
        f"{title}, {'-'.join(map(str, layers))}",
        {name: tune(name, task, size.horizon, size.grid, size.runs) for name in size.classics},
        {one.style: score(one.theta, REPORTED, size.runs) for one in learned},
    )


def judge_home(home: Arena, report: Report) -> None:
    """The claims on the meta-training task; every meta-training has to support them."""
    means = {style: scores.mean.mean(axis=1) for style, scores in home.learned.items()}
    finals = {style: scores.final.mean(axis=1) for style, scores in home.learned.items()}
    short_mean, short_final = means.pop("truncated-es"), finals.pop("truncated-es")
    for style, final in finals.items():
        label = STYLES[style].label
        for name, tuned in home.classics.items():
            other, theirs = CLASSICS[name].style.label, tuned.by_final.final.mean()
            report.claim(
                f"meta-trained with {label}: a lower final training loss than tuned {other}",
                HERE if name == "adam-cosine" else PAPERS,
                f"{spread(final)}; {other} {theirs:.3f} at its best rate {tuned.rate_final:.2g}",
                final.max() < theirs,
            )
        report.claim(
            f"meta-trained with truncated ES at the same budget: worse than with {label}",
            PAPERS,
            f"mean training loss {spread(short_mean)} against {spread(means[style])}; final "
            f"{spread(short_final)} against {spread(final)}",
            short_mean.min() > means[style].max() and short_final.min() > final.max(),
        )
    if "pes" in means:
        ours, theirs = means["es-single"], means["pes"]
        report.claim(
            "ES-Single meta-trains at least as well as PES",
            PAPERS,
            f"mean training loss {spread(ours)}, PES {spread(theirs)}",
            np.median(ours) <= np.median(theirs),
        )


def judge_away(home: Arena, away: Arena, report: Report) -> None:
    """The claims on the held-out architecture."""
    loss = away.learned["es-single"].final.mean(axis=1)
    for name in ("adam", "sgd-momentum"):
        label, tuned = CLASSICS[name].style.label, away.classics[name]
        rates = home.classics[name].rate_final, tuned.rate_final
        for rate, where in zip(rates, ("the meta-training task", "it"), strict=True):
            theirs = tuned.at([rate]).final.mean()
            report.claim(
                f"held-out architecture: ES-Single's optimiser ends below {label} tuned on {where}",
                HERE,
                f"final training loss {spread(loss)}; {label} {theirs:.3f} at rate {rate:.2g}",
                loss.max() < theirs,
            )


def figure(learned: list[Learned], arenas: list[Arena], T: int):
    """Meta-training, and training curves on every architecture."""
    fig, axes = panels(1 + len(arenas), size=(4.6, 4.0))
    for one in learned:
        style = STYLES[one.style]
        curve(axes[0], one.steps / 1e6, one.progress, style)
        axes[0].lines[-1].set(marker=style.marker, markevery=0.2, markersize=5)
    for name, tuned in arenas[0].classics.items():
        style = CLASSICS[name].style
        level = tuned.by_mean.mean.mean()
        axes[0].axhline(level, color=style.color, ls=style.dash, lw=1, label=style.label)
    axes[0].set(
        title="Meta-training",
        xlabel="million inner steps of all particles",
        ylabel=f"mean training loss over {T} steps",
        yscale="log",
    )
    t = (np.arange(POINTS) + 0.5) * T / POINTS
    for axis, place in zip(axes[1:], arenas, strict=True):
        entries = [(CLASSICS[n].style, tuned.by_final) for n, tuned in place.classics.items()]
        entries += [(STYLES[s], scores) for s, scores in place.learned.items()]
        for style, scores in entries:
            curve(axis, t, scores.curve, style)
            axis.lines[-1].set(marker=style.marker, markevery=0.2, markersize=5)
        axis.set(title=place.title, xlabel="inner step", ylabel="training loss", yscale="log")
    for axis in axes[:2]:
        axis.legend()
    letters(fig)
    return fig


def summary(place: Arena) -> dict[str, Any]:
    """Numbers of one architecture, for ``result.json``."""
    classics = {
        name: {
            "rate_best_mean": tuned.rate_mean,
            "rate_best_final": tuned.rate_final,
            "mean": tuned.by_mean.mean.mean(),
            "final": tuned.by_final.final.mean(),
            "final_of_runs": tuned.by_final.final[0],
        }
        for name, tuned in place.classics.items()
    }
    learned = {
        style: {"mean": scores.mean.mean(axis=1), "final": scores.final.mean(axis=1)}
        for style, scores in place.learned.items()
    }
    return {"classics": classics, "learned": learned}


def run(quick: bool, report: Report) -> None:
    """Meta-train, tune the classics, compare on one architecture or both."""
    size, data = QUICK if quick else FULL, small_images(quick)
    report.setting(
        **size._asdict(),
        perturb_std=SIGMA,
        staggered=True,
        meta_optimizer="adam",
        num_params=NET.num_params,
        images=data.name,
        hidden=HIDDEN,
        hidden_held_out=HELD_OUT,
        batch=BATCH,
    )
    task = classifier(data.train, HIDDEN)
    score = scorer(task, NET.optimizer, size.horizon)
    learned = [meta_train(style, task, size, score, report) for style in size.methods]
    arenas = [arena("Meta-training task", task, score, size, learned)]
    report.note("tuned the classic optimisers")
    if size.held_out:
        other = classifier(data.train, HELD_OUT)
        score = scorer(other, NET.optimizer, size.horizon)
        arenas.append(arena("Held-out architecture", other, score, size, learned))
    report.result(
        meta_training={
            one.style: {
                "rate": one.rate,
                "searched": dict(zip(size.rates, one.searched, strict=True)),
                "inner_steps": one.steps,
                "mean_loss": one.progress,
                "theta": one.theta,
            }
            for one in learned
        },
        architectures={place.title: summary(place) for place in arenas},
    )
    judge_home(arenas[0], report)
    if size.held_out:
        judge_away(arenas[0], arenas[1], report)
    report.figure("learned-optimizer", figure(learned, arenas, size.horizon))


EXPERIMENT = Experiment(
    name="learned-optimizer",
    description="a small network as the optimiser of a classifier, against tuned Adam and SGD",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=20,
    run=run,
    paper=PAPER,
)
