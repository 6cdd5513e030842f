"""A learning-rate schedule with two parameters: the whole meta-loss surface, and who finds its
optimum."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.ndimage import gaussian_filter

from pes_rl.estimators import es, es_single, pes, truncated_es
from pes_rl.problems.toy_regression import ToyRegression
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import curve, letters, panels
from pes_rl.styles import NOTE, STYLES
from pes_rl.unrolled import (
    History,
    Method,
    bptt,
    evolution,
    minimize,
    rtrl,
    truncated_bptt,
    uoro,
)

PROBLEM = ToyRegression()
T, K, PAIRS, SIGMA, WIDE = PROBLEM.horizon, 10, 50, 0.3, 1.0
START, RATE, BETA1 = (-4.0, -4.0), 1e-2, 0.99
LOW, HIGH = -5.0, 5.0  # the papers' picture
TOLERANCE = 0.05  # relative, on the loss
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


class Surface(NamedTuple):
    """Mean loss per inner step on a grid: axis [G], values [G, G] (theta_0 first)."""

    axis: np.ndarray
    values: np.ndarray

    def smoothed(self, perturb_std: float) -> Surface:
        """What full ES and ES-Single minimise: the mean over Gaussian perturbations."""
        pixels = perturb_std / (self.axis[1] - self.axis[0])
        return Surface(self.axis, gaussian_filter(self.values, pixels, mode="nearest"))

    def minimum(self) -> tuple[np.ndarray, float]:
        """The best theta on the grid inside the picture, and its value."""
        inside = (self.axis >= LOW) & (self.axis <= HIGH)
        axis, values = self.axis[inside], self.values[np.ix_(inside, inside)]
        i, j = np.unravel_index(values.argmin(), values.shape)
        return np.array([axis[i], axis[j]]), float(values[i, j])

    def at(self, theta: np.ndarray) -> float:
        """The value at the grid point nearest to theta."""
        i, j = (np.abs(self.axis - value).argmin() for value in theta)
        return float(self.values[i, j])


def on_grid(loss: Any, points: int) -> Surface:
    """A function of theta on the grid; wider than the picture, so that smoothing is right in it."""
    axis = np.linspace(LOW - 2, HIGH + 2, points)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = jax.jit(jax.vmap(loss))(jnp.asarray(grid, jnp.float32))
    return Surface(axis, np.asarray(values, float).reshape(points, points))


def mean_loss(theta: jax.Array) -> jax.Array:
    """Mean loss per inner step of a whole unroll."""
    return PROBLEM.total_loss(theta) / T


def short_horizon_loss(visited_with: np.ndarray) -> Any:
    """Mean loss of K-step unrolls with theta, from the states that another theta passes through.

    At its fixed point truncated ES is at a minimum of this function of theta, smoothed, for the
    states that it visits itself.
    """
    own = jnp.asarray(visited_with, jnp.float32)

    def unroll(theta, carry):
        def advance(carry, _):
            carry, out = PROBLEM.step(None, theta, carry)
            return carry, out.loss

        return jax.lax.scan(advance, carry, length=K)

    def segments(carry, _):
        return unroll(own, carry)[0], carry

    starts = jax.lax.scan(segments, PROBLEM.init(None, own), length=T // K)[1]
    return lambda theta: jax.vmap(lambda s: unroll(theta, s)[1].mean())(starts).mean()


class Contestant(NamedTuple):
    """One curve: its style, its label, the method, and inner steps per particle and update."""

    style: str
    label: str
    method: Method
    steps: int


def contestants() -> list[Contestant]:
    """All methods of the papers, lockstep."""
    lock: Any = {"staggered": False}

    def truncated(perturb_std: float) -> Contestant:
        method = evolution(PROBLEM, truncated_es(PAIRS, perturb_std, K, T, **lock))
        return Contestant("truncated-es", f"truncated ES, sigma {perturb_std:g}", method, K)

    return [
        Contestant("bptt", "full BPTT", bptt(PROBLEM, T), T),
        Contestant("truncated-bptt", "truncated BPTT", truncated_bptt(PROBLEM, K, T, **lock), K),
        Contestant("rtrl", "RTRL", rtrl(PROBLEM, K, T, **lock), K),
        Contestant("uoro", "UORO", uoro(PROBLEM, K, T, **lock), K),
        truncated(SIGMA),
        truncated(WIDE),
        Contestant("es", "full ES", evolution(PROBLEM, es(PAIRS, SIGMA, T)), T),
        Contestant("pes", "PES", evolution(PROBLEM, pes(PAIRS, SIGMA, K, T, **lock)), K),
        Contestant(
            "es-single", "ES-Single", evolution(PROBLEM, es_single(PAIRS, SIGMA, K, T, **lock)), K
        ),
    ]


class Track(NamedTuple):
    """One contestant's history, and the mean loss of its thetas [seeds, moments]."""

    one: Contestant
    history: History
    loss: np.ndarray

    @property
    def end(self) -> np.ndarray:
        """Final loss of every seed: the median of the last tenth, since theta keeps trembling."""
        return np.median(self.loss[:, -self.loss.shape[1] // 10 :], axis=1)


def figure(surface: Surface, tracks: list[Track]):
    """The surface with the methods' ways over it, their losses, and a cut through the surface."""
    fig, (ground, losses, cut) = panels(3, size=(4.9, 4.4))
    inside = (surface.axis >= LOW) & (surface.axis <= HIGH)
    axis, values = surface.axis[inside], surface.values[np.ix_(inside, inside)]
    levels = {"cmap": "Greys", "vmin": np.log10(5), "vmax": np.log10(100), "rasterized": True}
    mesh = ground.pcolormesh(axis, axis, np.log10(values).T, **levels)
    bar = fig.colorbar(mesh, ax=ground, shrink=0.8, ticks=np.log10([5, 10, 25, 100]))
    bar.ax.set_yticklabels(["5", "10", "25", "100"])
    bar.set_label("mean loss per inner step (black: 100 and more)")
    for one, history, loss in tracks:
        style = STYLES[one.style]
        wide = one.label.endswith(f"{WIDE:g}")
        face = "white" if wide else style.color
        way = history.theta[0]
        ground.plot(*way.T, color=style.color, ls=style.dash, lw=1.5)
        ground.plot(*way[-1], style.marker, color=style.color, ms=8, mec="black", mfc=face, mew=0.8)
        steps = history.updates[1:] * one.steps
        curve(losses, steps, loss[:, 1:], style, one.label)
        losses.lines[-1].set(marker=style.marker, markevery=0.15, markersize=5, mfc=face)
    best, value = surface.minimum()
    ground.plot(*best, "*", color="yellow", ms=14, mec="black", mew=0.8)
    ground.plot(*START, "o", color="white", ms=6, mec="black")
    ground.annotate("start", START, xytext=(6, -10), textcoords="offset points", fontsize=8)
    ground.grid(visible=False)
    ground.set(
        title="Meta-loss surface",
        xlabel="log initial learning rate",
        ylabel="log final learning rate",
        xlim=(LOW, HIGH),
        ylim=(LOW, HIGH),
    )
    losses.axhline(value, color="0.4", lw=0.8)
    losses.annotate("best on the grid", (1e3, value * 0.97), **NOTE, va="top")
    losses.set(
        title="Loss of theta",
        xlabel="inner steps per particle",
        ylabel="mean loss per inner step",
        xscale="log",
        yscale="log",
        ylim=(4.5, 32),
    )
    losses.set_yticks([5, 10, 20, 30], ["5", "10", "20", "30"])
    losses.minorticks_off()
    line = np.linspace(LOW, HIGH, 4000)
    points = jnp.stack([jnp.asarray(line), jnp.full(line.size, best[1])], axis=1)
    cut.plot(line, jax.vmap(mean_loss)(points), color="0.6", lw=0.6, label="loss")
    smooth = surface.smoothed(SIGMA)
    row = smooth.values[:, np.abs(smooth.axis - best[1]).argmin()]
    cut.plot(smooth.axis, row, color="black", label=f"smoothed, sigma {SIGMA:g}")
    cut.set(
        title=f"Cut at a log final rate of {best[1]:.2f}",
        xlabel="log initial learning rate",
        ylabel="mean loss per inner step",
        yscale="log",
        xlim=(-2, HIGH),
        ylim=(4.5, 60),
    )
    cut.set_yticks([5, 10, 20, 50], ["5", "10", "20", "50"])
    cut.minorticks_off()
    cut.legend(loc="upper left")
    fig.legend(*losses.get_legend_handles_labels(), loc="outside lower center", ncols=len(tracks))
    letters(fig)
    return fig


def _range(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def judge(surface: Surface, tracks: list[Track], points: int, report: Report) -> None:
    """The claims; every seed has to support them."""
    best, value = surface.minimum()
    smooth_best, smooth_value = surface.smoothed(SIGMA).minimum()
    ends = {track.one.label: track for track in tracks}
    for label, source in (("PES", PES), ("ES-Single", SINGLE)):
        end = ends[label].end
        report.claim(
            f"{label} ends at the optimum that brute force finds",
            source,
            f"loss {_range(end)}; best on the grid {value:.2f} at ({best[0]:.2f}, {best[1]:.2f}); "
            f"tolerance {TOLERANCE:.0%}",
            end.max() <= (1 + TOLERANCE) * value,
        )
    for label in ("full BPTT", "truncated BPTT", "RTRL", "UORO"):
        end = ends[label].end
        text = f"loss {_range(end)}, the optimum's is {value:.2f}"
        report.claim(f"{label} stays far from the optimum", PES, text, end.min() > 2 * value)
    near = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 2)) + smooth_best
    slopes = jax.vmap(jax.grad(mean_loss))(jnp.asarray(near, jnp.float32))
    slope = float(np.median(np.linalg.norm(np.asarray(slopes, float), axis=1)))
    smooth = surface.smoothed(SIGMA)
    gentle = np.hypot(*np.gradient(smooth.values, smooth.axis, smooth.axis))
    at = [np.abs(smooth.axis - v).argmin() for v in smooth_best]
    square = gentle[at[0] - 5 : at[0] + 6, at[1] - 5 : at[1] + 6]
    report.claim(
        "the surface is chaotic: its exact gradient is useless around the optimum",
        PES,
        f"median norm of the exact gradient {slope:.1e}, smoothed {np.median(square):.1e}",
        slope > 1e3 * np.median(square),
    )
    wide = ends[f"truncated ES, sigma {WIDE:g}"]
    theta = wide.history.theta[:, -1]
    gaps, places = [], []
    for one in theta:
        own = on_grid(short_horizon_loss(one), points).smoothed(WIDE)
        place, least = own.minimum()
        gaps.append(own.at(one) / least - 1)
        places.append(place)
    report.claim(
        "truncated ES ends at the optimum of its short horizon, not at the real one",
        PES,
        f"sigma {WIDE:g}: its K-step loss, smoothed, is at most {max(gaps):.1%} above the minimum "
        f"that brute force finds (theta {_points(theta)}, minima {_points(places)}); its loss is "
        f"{_range(wide.end)}, the optimum's {value:.2f}",
        max(gaps) < TOLERANCE and wide.end.min() > 1.5 * value,
    )
    narrow = ends[f"truncated ES, sigma {SIGMA:g}"]
    report.claim(
        "truncated ES does not reach the optimum with the sigma of PES either",
        "here",
        f"sigma {SIGMA:g}: loss {_range(narrow.end)}, the optimum's {value:.2f}",
        narrow.end.min() > (1 + TOLERANCE) * value,
    )
    report.result(
        best_theta=best,
        best_loss=value,
        best_theta_smoothed=smooth_best,
        best_loss_smoothed=smooth_value,
        median_gradient_norm=slope,
        short_horizon_minima=places,
    )


def _points(thetas: Any) -> str:
    return ", ".join(f"({a:.1f}, {b:.1f})" for a, b in thetas)


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, updates, points = (2, 5_000, 281) if quick else (5, 20_000, 701)
    report.setting(
        theta=START,
        perturb_std=SIGMA,
        perturb_std_truncated_es=[SIGMA, WIDE],
        particles=2 * PAIRS,
        learning_rate=RATE,
        optimizer=f"adam, b1 {BETA1}",
        segment_length=K,
        horizon=T,
        updates=updates,
        staggered=False,
        seeds=seeds,
    )
    surface = on_grid(mean_loss, points)
    report.note(f"surface of {points} x {points} points")
    losses, tracks = jax.jit(jax.vmap(mean_loss)), []
    optimizer = optax.adam(RATE, b1=BETA1)
    for one in contestants():
        number = updates * K // one.steps
        # Equal inner steps, but a whole episode per update leaves a tenth of the updates.
        history = minimize(one.method, optimizer, START, range(seeds), number, records=200)
        loss = losses(history.theta.reshape(-1, 2)).reshape(history.theta.shape[:2])
        tracks.append(Track(one, history, np.asarray(loss, float)))
        report.note(f"{one.label}: loss {_range(tracks[-1].end)}")
    report.result(
        tracks={
            t.one.label: {
                "inner_steps": t.history.updates[::5] * t.one.steps,
                "theta": t.history.theta[:, ::5],
                "loss": t.loss[:, ::5],
            }
            for t in tracks
        }
    )
    judge(surface, tracks, min(points, 281), report)
    report.figure("toy-regression", figure(surface, tracks))


EXPERIMENT = Experiment(
    name="toy-regression",
    description="a learning-rate schedule of two parameters on its chaotic meta-loss surface",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=4,
    run=run,
)
