"""29 hyperparameters of one training at once, against random search at equal inner steps."""

from __future__ import annotations

import numpy as np

from pes_rl.problems.hyperparameters import Tuning, many
from pes_rl.problems.small_images import small_images
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import letters, panels
from pes_rl.reproductions.many_hyperparameters_paper import PAPER
from pes_rl.reproductions.tuning import Task, Track, plain_logarithmic, search, spread
from pes_rl.styles import STYLES

PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"
METHODS = ("truncated-es", "pes", "es-single", "random-search")
GROUPS = ("log learning rate", "momentum logit", "decay, e-folds", "log L2", "smoothing logit")
# Per group: start, and the ends of random search.
BOX = ((-5.0, -7.0, 0.0), (0.0, -2.0, 4.0), (1.0, -2.0, 6.0), (-7.0, -12.0, -2.0), (-3, -8, 0))


def task(quick: bool) -> Task:
    """A network of four layers on small images, judged by its loss on held-out ones."""
    data, T = small_images(quick), 300 if quick else 1000
    width, layers = 8, 4
    counts = (2 * layers, 2 * layers, 2 * layers, layers, 1)
    start, low, high = (
        tuple(float(row[i]) for row, n in zip(BOX, counts, strict=True) for _ in range(n))
        for i in range(3)
    )
    problem = Tuning(
        many(layers, T),
        data.train,
        data.held_out,
        objective="validation-loss",
        hidden=(width,) * (layers - 1),
        batch=8,
        judged=16,
    )
    return Task(
        problem=problem,
        horizon=T,
        segment_length=10,
        pairs=5,
        perturb_std=0.3,
        rate=0.01,
        updates=1200 if quick else 10_000,
        start=start,
        low=low,
        high=high,
    )


def figure(tracks: dict[str, Track]):
    """The methods' final losses, and their mean hyperparameters by group."""
    fig, (losses, ends) = panels(2, size=(5.2, 3.8))
    for row, (name, track) in enumerate(tracks.items()):
        style = STYLES[name]
        losses.plot(
            track.loss, np.full(len(track.loss), row), style.marker, color=style.color, ms=7
        )
        counts = (8, 8, 8, 4, 1)
        groups = np.split(np.median(track.end, axis=0), np.cumsum(counts)[:-1])
        means = [float(group.mean()) for group in groups]
        ends.plot(means, range(len(GROUPS)), style.marker, color=style.color, label=style.label)
    losses.set(title="Mean loss on held-out digits", xlabel="nats")
    plain_logarithmic(losses)
    losses.set_yticks(range(len(tracks)), [STYLES[name].label for name in tracks])
    ends.set(title="Where they end, mean of each group", xlabel="value")
    ends.set_yticks(range(len(GROUPS)), GROUPS)
    fig.legend(*ends.get_legend_handles_labels(), loc="outside lower center", ncols=len(tracks))
    letters(fig)
    return fig


def judge(tracks: dict[str, Track], points: int, report: Report) -> None:
    """Better is better on every seed; not better, by the medians."""
    best = tracks["random-search"].loss
    against = f"the best of {points} random points {spread(best)}"
    for name, source in (("pes", PES), ("es-single", SINGLE)):
        if name not in tracks:
            continue
        own = tracks[name].loss
        report.claim(
            f"{STYLES[name].label} is better than random search at equal inner steps, whatever the "
            "seeds",
            source,
            f"held-out loss {spread(own)}; {against}",
            own.max() < best.min(),
        )
    own = tracks["truncated-es"].loss
    report.claim(
        "truncated ES is not better than random search at equal inner steps",
        PES,
        f"held-out loss {spread(own)}; {against}",
        np.median(own) >= np.median(best),
    )


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    chosen, seeds = task(quick), range(2 if quick else 3)
    points = chosen.budget // chosen.horizon
    report.setting(
        data=small_images(quick).name,
        network=chosen.problem.sizes,
        hyperparameters=len(chosen.start),
        start=chosen.start,
        random_search_low=chosen.low,
        random_search_high=chosen.high,
        random_search_points=points,
        particles=2 * chosen.pairs,
        perturb_std=chosen.perturb_std,
        learning_rate=chosen.rate,
        optimizer="adam",
        segment_length=chosen.segment_length,
        horizon=chosen.horizon,
        updates=chosen.updates,
        inner_steps=chosen.budget,
        staggered=True,
        seeds=len(seeds),
    )
    tracks: dict[str, Track] = {}
    for name in METHODS:
        if quick and name == "pes":
            continue
        tracks[name] = search(chosen, name, seeds, judges=4 if quick else 16)
        report.note(f"{STYLES[name].label}: held-out loss {spread(tracks[name].loss)}")
    report.result(
        methods={name: {"loss": t.loss, "theta": t.end} for name, t in tracks.items()},
    )
    judge(tracks, points, report)
    report.figure("many-hyperparameters", figure(tracks))


EXPERIMENT = Experiment(
    name="many-hyperparameters",
    description="29 hyperparameters of a network at once, against random search",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=10,
    run=run,
    paper=PAPER,
)
