"""A learning rate and its decay, tuned while a network trains: for its training loss, for an
accuracy, for its final loss. And the L2 coefficient of a regression."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems import datasets
from pes_rl.problems.datasets import Images
from pes_rl.problems.hyperparameters import Tuning, rate_and_decay
from pes_rl.problems.hyperparameters_ridge import Ridge, ridge
from pes_rl.problems.telescoping import Telescoping
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import STYLES, curve, letters, panels
from pes_rl.reproductions.tuning import Task, Track, ratio, search, spread, trainings
from pes_rl.unrolled import History, episode_gradients, evolution, minimize, truncated_bptt

PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"
START, LOW, HIGH = (-6.0, 0.0), (-8.0, -3.0), (1.0, 3.0)
CLOSE = 1.1  # a loss within this factor of the best one counts as reached
RIDGE_STARTS = (5.0, 3.0, 1.0, -1.0, -3.0, -5.0)
RIDGE_CLOSE = 0.01  # relative, on the held-out loss at rest
ONLINE = ("truncated-es", "pes", "es-single")
LOSS, ERROR, FINAL = "training loss", "validation error", "final training loss"


class Contest(NamedTuple):
    """One objective, and who searches for it."""

    objective: str
    task: Task
    styles: tuple[str, ...]


def pooled(data: Images) -> Images:
    """The 8 x 8 digits as 4 x 4."""
    blocks = data.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    return Images(blocks.reshape(-1, 16), data.labels)


def contests(quick: bool) -> list[Contest]:
    """Every objective with its methods; all of one objective have the same inner steps."""
    data, T = datasets.load("digits"), 300 if quick else 5000
    train, held_out = data.train, data.held_out
    if quick:
        train, held_out = pooled(train), pooled(held_out)
    problem = Tuning(
        rate_and_decay(T),
        train,
        held_out,
        hidden=(8,) if quick else (16,),
        batch=8 if quick else 16,
        judged=32 if quick else 64,
    )
    short = Task(
        problem=problem,
        horizon=T,
        segment_length=10,
        pairs=10,
        perturb_std=0.1,
        rate=0.02 if quick else 0.01,
        updates=500 if quick else 4000,
        start=START,
        low=LOW,
        high=HIGH,
    )
    # A tenth of the updates: a larger step of each.
    long = replace(short, segment_length=100, updates=short.updates // 10, rate=5 * short.rate)
    error = replace(short, problem=replace(problem, objective="validation-error"))
    final = replace(long, problem=Telescoping(replace(problem, objective="current-loss")))
    if quick:
        return [
            Contest(f"{LOSS}, K=10", short, (*ONLINE, "random-search")),
            Contest(FINAL, replace(final, segment_length=30), ("es-single", "random-search")),
        ]
    return [
        Contest(f"{LOSS}, K=10", short, (*ONLINE, "truncated-bptt", "es", "random-search")),
        Contest(f"{LOSS}, K=100", long, (*ONLINE, "random-search")),
        Contest(f"{ERROR}, K=10", error, (*ONLINE, "random-search")),
        Contest(FINAL, final, (*ONLINE, "random-search")),
    ]


class RidgeRuns(NamedTuple):
    """The regression, and every method's history from all starts."""

    problem: Ridge
    histories: dict[str, History]


def ridge_runs(quick: bool) -> RidgeRuns:
    """K = 1, no end, 4 particles, sigma and Adam as in the papers; starts side by side."""
    problem = ridge(*datasets.diabetes(), train=30)
    histories = {}
    starts = np.array(RIDGE_STARTS)[:, None]
    factories = {"truncated-es": truncated_es, "pes": pes, "es-single": es_single}
    for style, factory in factories.items():
        if quick and style == "pes":
            continue  # its noise grows with time: it needs the full variant's updates
        method = evolution(problem, factory(2, 0.01, 1, None))
        histories[style] = minimize(
            method, optax.adam(0.003), starts, range(len(starts)), 10_000 if quick else 50_000
        )
    return RidgeRuns(problem, histories)


class Grid(NamedTuple):
    """Mean training loss [G, G] on a grid of theta_0 (first) and theta_1."""

    axes: tuple[np.ndarray, np.ndarray]
    loss: np.ndarray

    @property
    def best(self) -> tuple[float, np.ndarray]:
        """The least value, and where it is."""
        i, j = np.unravel_index(self.loss.argmin(), self.loss.shape)
        return float(self.loss[i, j]), np.array([self.axes[0][i], self.axes[1][j]])


def on_grid(run: Any, points: int) -> Grid:
    """Whole trainings everywhere in the box of random search."""
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
        own = found[f"{LOSS}, K=10"][style]
        report.claim(
            f"{LOSS}, K=10: {STYLES[style].label} ends near the best point of a grid",
            source,
            f"{spread(own.loss)}; best of the grid {value:.3f} at ({place[0]:.1f}, {place[1]:.1f})",
            np.median(own.loss) <= CLOSE * value,
        )


def judge_ridge(runs: RidgeRuns, report: Report) -> None:
    """Every start has to reach the optimum."""
    best = runs.problem.optimum()
    least = float(runs.problem.at_rest(np.array([best]))[0])
    for style, source in (("pes", PES), ("es-single", SINGLE)):
        if style not in runs.histories:
            continue
        ends = runs.histories[style].theta[:, -10:, 0].mean(axis=1)
        excess = runs.problem.at_rest(ends) / least - 1
        report.claim(
            f"L2 coefficient: {STYLES[style].label} finds brute force's optimum from every start",
            source,
            f"theta {ends.min():.2f} to {ends.max():.2f}, optimum {best:.2f}; held-out loss at "
            f"most {excess.max():.2%} above its {least:.3f}, tolerance {RIDGE_CLOSE:.0%}",
            excess.max() <= RIDGE_CLOSE,
        )
    ends = runs.histories["truncated-es"].theta[:, -10:, 0].mean(axis=1)
    report.claim(
        "L2 coefficient: truncated ES settles beside the optimum",
        "here",
        f"theta {ends.min():.2f} to {ends.max():.2f}, optimum {best:.2f}; held-out loss at most "
        f"{(runs.problem.at_rest(ends) / least - 1).max():.2%} above the least",
        np.abs(ends - best).min() > 0.2,
    )
    report.result(
        ridge_optimum=best,
        ridge_least_loss=least,
        ridge_ends={k: h.theta[:, -10:, 0].mean(axis=1) for k, h in runs.histories.items()},
    )


def figure(found: dict[str, dict[str, Track]], grid: Grid, runs: RidgeRuns):
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
            place = np.full(len(track.loss), row) + 0.1 * (list(STYLES).index(name) - 4) / 2
            losses.plot(track.loss / base, place, style.marker, color=style.color, label=label)
    losses.axvline(1, color="0.5", lw=0.8)
    losses.set(title="Against random search", xlabel="loss / median of random search", xscale="log")
    losses.set_yticks(range(len(found)), list(found))
    losses.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    for name, history in runs.histories.items():
        for one in range(len(RIDGE_STARTS)):
            label = STYLES[name].label if one == 0 else "_"
            curve(lines, history.updates, history.theta[one : one + 1, :, 0], STYLES[name], label)
    lines.axhline(runs.problem.optimum(), color="0.3", lw=0.8)
    lines.set(title="L2 coefficient of a regression", xlabel="updates", ylabel="theta")
    lines.legend()
    letters(fig)
    return fig


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, judges = range(2 if quick else 3), 4 if quick else 8
    every = contests(quick)
    report.setting(
        data="scikit-learn digits" + ", pooled to 4 x 4" * quick,
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
    grid = None
    for objective, task, styles in every:
        trained = trainings(task.problem, task.horizon)
        grid = grid or on_grid(trained, 9 if quick else 15)
        found[objective] = {}
        for style in styles:
            track = search(task, trained, style, seeds, judges)
            found[objective][style] = track
            report.note(f"{objective}, {STYLES[style].label}: loss {spread(track.loss)}")
    assert grid is not None
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
    runs = ridge_runs(quick)
    judge_ridge(runs, report)
    report.figure("hyperparameters", figure(found, grid, runs))


EXPERIMENT = Experiment(
    name="hyperparameters",
    description="a learning rate and its decay, and an L2 coefficient, tuned while training",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=45,
    run=run,
)
