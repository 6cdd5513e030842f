"""A learning rate and its decay, tuned while a network trains: for its training loss, for an
accuracy, for its final loss. And the L2 coefficient of a regression."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from pes_rl.problems.datasets import Dataset
from pes_rl.problems.hyperparameters import Tuning, rate_and_decay
from pes_rl.problems.small_images import small_images
from pes_rl.problems.telescoping import Telescoping
from pes_rl.reproductions import l2_coefficient
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import letters, panels
from pes_rl.reproductions.hyperparameters_paper import PAPER
from pes_rl.reproductions.tuning import (
    Task,
    Track,
    plain_logarithmic,
    ratio,
    search,
    spread,
    trainings,
)
from pes_rl.styles import STYLES
from pes_rl.unrolled import episode_gradients, truncated_bptt

PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"
START, LOW, HIGH = (-6.0, 0.0), (-8.0, -3.0), (1.0, 3.0)
CLOSE = 1.1  # a loss within this factor of the best one counts as reached
ONLINE = ("truncated-es", "pes", "es-single")
ORDER = (*ONLINE, "random-search")
LOSS, ERROR, FINAL = "training loss", "validation error", "final training loss"


class Contest(NamedTuple):
    """One objective, and who searches for it."""

    objective: str
    task: Task
    styles: tuple[str, ...]


def contests(quick: bool, data: Dataset) -> list[Contest]:
    """Every objective with its methods; all of one objective have the same inner steps."""
    T = 300 if quick else 5000
    problem = Tuning(
        rate_and_decay(T),
        data.train,
        data.held_out,
        hidden=(8,) if quick else (16,),
        batch=8 if quick else 16,
    )
    short = Task(
        problem=problem,
        horizon=T,
        segment_length=10,
        pairs=10,
        perturb_std=0.1,
        rate=0.02,
        updates=1000 if quick else 1500,
        start=START,
        low=LOW,
        high=HIGH,
    )
    if quick:
        styles = ("truncated-es", "es-single", "random-search")
        return [Contest(f"{LOSS}, K=10", short, styles)]
    # A tenth of the updates: a larger step of each.
    long = replace(short, segment_length=100, updates=short.updates // 10, rate=3 * short.rate)
    error = replace(short, problem=replace(problem, objective="validation-error"))
    final = replace(long, problem=Telescoping(replace(problem, objective="current-loss")))
    return [
        Contest(f"{LOSS}, K=10", short, ORDER),
        Contest(f"{LOSS}, K=100", long, ORDER),
        Contest(f"{ERROR}, K=10", error, ORDER),
        Contest(FINAL, final, ("es-single", "random-search")),
    ]


class Grid(NamedTuple):
    """Mean training loss [G, G] on a grid of theta_0 (first) and theta_1."""

    axes: tuple[np.ndarray, np.ndarray]
    loss: np.ndarray

    @property
    def best(self) -> tuple[float, np.ndarray]:
        """The least value, and where it is."""
        i, j = np.unravel_index(self.loss.argmin(), self.loss.shape)
        return float(self.loss[i, j]), np.array([self.axes[0][i], self.axes[1][j]])


def on_grid(task: Task, points: int) -> Grid:
    """Two whole trainings at every point of random search's box."""
    run = trainings(task.problem, task.horizon)
    axes = np.linspace(LOW[0], HIGH[0], points), np.linspace(LOW[1], HIGH[1], points)
    thetas = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return Grid(axes, run(thetas, [0, 1]).mean(axis=1).reshape(points, points))


def blind(task: Task) -> float:
    """Largest component of backpropagation's gradient of a validation error."""
    method = truncated_bptt(task.problem, task.segment_length, task.horizon, staggered=False)
    keys = jax.numpy.stack([jax.random.key(0)])
    return float(np.abs(episode_gradients(method, task.start, keys, 3)).max())


def judge(found: dict[str, dict[str, Track]], grid: Grid, report: Report) -> None:
    """Medians over seeds are compared; losses are per inner step."""
    for objective, tracks in found.items():
        random = tracks["random-search"]
        for style in ("pes", "es-single"):
            if style not in tracks:
                continue
            own = tracks[style]
            report.claim(
                f"{objective}: {STYLES[style].label} matches random search at equal inner steps",
                "here",
                f"{spread(own.loss)} against {spread(random.loss)}, ratio "
                f"{ratio(own, random):.3f}; holds up to {CLOSE}",
                ratio(own, random) <= CLOSE,
            )
        if "truncated-es" in tracks and objective.startswith(LOSS):
            short, own = tracks["truncated-es"], tracks["es-single"]
            report.claim(
                f"{objective}: truncated ES falls for its short horizon",
                PES,
                f"{spread(short.loss)}, ratio to random search {ratio(short, random):.3f}; "
                f"ES-Single {spread(own.loss)}",
                ratio(short, own) > CLOSE,
            )
    value, place = grid.best
    for style, source in (("pes", PES), ("es-single", SINGLE)):
        own = found[f"{LOSS}, K=10"].get(style)
        if own is None:
            continue
        report.claim(
            f"{LOSS}, K=10: {STYLES[style].label} ends near the best point of a grid",
            source,
            f"{spread(own.loss)}; best of the grid {value:.3f} at ({place[0]:.1f}, {place[1]:.1f})",
            np.median(own.loss) <= CLOSE * value,
        )


def figure(found: dict[str, dict[str, Track]], grid: Grid, runs: l2_coefficient.Runs):
    """The surface with the ways over it, the losses by objective, and the regressions."""
    fig, (ground, losses, lines) = panels(3, size=(4.9, 4.2))
    values = np.log10(grid.loss).T
    mesh = ground.pcolormesh(*grid.axes, values, cmap="Greys", rasterized=True)
    fig.colorbar(mesh, ax=ground, shrink=0.8).set_label("log10 of the mean training loss")
    for name, track in found[f"{LOSS}, K=10"].items():
        style = STYLES[name]
        ground.plot(*track.theta[0].T, color=style.color, ls=style.dash)
        ground.plot(*track.end[0], style.marker, color=style.color, ms=8, mec="black")
    ground.grid(visible=False)
    ground.set(
        title="Training loss, K=10: first seed",
        xlabel="log learning rate",
        ylabel="log decay power",
        xlim=(LOW[0], HIGH[0]),
        ylim=(LOW[1], HIGH[1]),
    )
    named = set()
    for row, tracks in enumerate(found.values()):
        base = np.median(tracks["random-search"].loss)
        for name, track in tracks.items():
            style = STYLES[name]
            label = None if name in named else style.label
            named.add(name)
            place = np.full(len(track.loss), row + 0.15 * (ORDER.index(name) - 1.5))
            losses.plot(track.loss / base, place, style.marker, color=style.color, label=label)
    losses.axvline(1, color="0.5", lw=0.8)
    losses.set(title="Against random search", xlabel="loss / median of random search")
    plain_logarithmic(losses)
    losses.set_yticks(range(len(found)), list(found))
    losses.set_ylim(len(found) - 0.5, -0.5)
    losses.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    l2_coefficient.draw(lines, runs)
    letters(fig)
    return fig


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, judges = range(2 if quick else 3), 4 if quick else 8
    data = small_images(quick)
    every = contests(quick, data)
    report.setting(
        data=data.name,
        network=every[0].task.problem.sizes,
        start=START,
        random_search_low=LOW,
        random_search_high=HIGH,
        optimizer="adam",
        staggered=True,
        seeds=len(seeds),
        contests={
            one.objective: {
                "segment_length": one.task.segment_length,
                "horizon": one.task.horizon,
                "particles": 2 * one.task.pairs,
                "perturb_std": one.task.perturb_std,
                "learning_rate": one.task.rate,
                "updates": one.task.updates,
                "inner_steps": one.task.budget,
                "random_search_points": one.task.budget // one.task.horizon,
            }
            for one in every
        },
    )
    found: dict[str, dict[str, Track]] = {}
    for objective, task, styles in every:
        found[objective] = {}
        for style in styles:
            track = search(task, style, seeds, judges)
            found[objective][style] = track
            report.note(f"{objective}, {STYLES[style].label}: loss {spread(track.loss)}")
    grid = on_grid(every[0].task, 9 if quick else 11)
    report.result(
        methods={
            objective: {style: {"loss": t.loss, "theta": t.end} for style, t in tracks.items()}
            for objective, tracks in found.items()
        },
        grid=grid._asdict(),
    )
    judge(found, grid, report)
    for one in every:
        if one.objective.startswith(ERROR):
            largest = blind(one.task)
            report.claim(
                f"{ERROR}: backpropagation has nothing to go by",
                PES,
                f"largest component of its gradient {largest:g}",
                largest == 0,
            )
    runs = l2_coefficient.compute(quick, report)
    l2_coefficient.judge(runs, report)
    report.figure("hyperparameters", figure(found, grid, runs))


EXPERIMENT = Experiment(
    name="hyperparameters",
    description="a learning rate and its decay, and an L2 coefficient, tuned while training",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=10,
    run=run,
    paper=PAPER,
)
