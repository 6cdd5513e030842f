"""Influence balancing: methods that are blind beyond a few steps walk away from the optimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import optax

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems.influence_balancing import InfluenceBalancing
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import curve, letters, panels
from pes_rl.styles import NOTE, STYLES
from pes_rl.unrolled import History, Method, evolution, minimize, rtrl, truncated_bptt, uoro

PROBLEM = InfluenceBalancing()
START, SIGMA, RATE = 0.5, 0.1, 1e-4
AWAY = abs(START - PROBLEM.optimum)
PAPER, LONG = 3_000, 30_000  # updates: the papers', and as many more as slow methods need
CLOSE = 0.05  # |theta - optimum| that counts as converged
FACTORIES = {"es-single": es_single, "pes": pes, "truncated-es": truncated_es}
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


class Contestant(NamedTuple):
    """One curve: its style, its label, the method, its learning rate and its updates."""

    style: str
    label: str
    method: Method
    rate: float
    updates: int


def population(style: str, particles: int, updates: int) -> Contestant:
    """An estimator with K = 1 on this endless problem."""
    method = evolution(PROBLEM, FACTORIES[style](particles // 2, SIGMA, 1, None))
    return Contestant(style, f"{STYLES[style].label}, {particles}", method, RATE, updates)


def backpropagation(K: int, updates: int) -> Contestant:
    """The rate is per step: at K times the rate the larger segments would only diverge sooner."""
    method = truncated_bptt(PROBLEM, K, None)
    return Contestant("truncated-bptt", f"truncated BPTT, K={K}", method, RATE / K, updates)


def contestants(quick: bool) -> list[Contestant]:
    """Every method at the papers' learning rates."""
    sizes = (100,) if quick else (10, 30, 100, 300)
    return [
        backpropagation(1, LONG),
        backpropagation(10, LONG),
        backpropagation(100, PAPER),
        Contestant("rtrl", "RTRL", rtrl(PROBLEM, 1, None), RATE, PAPER),
        Contestant("uoro", "UORO", uoro(PROBLEM, 1, None), RATE / 10, LONG),
        population("truncated-es", 1000, PAPER),
        population("pes", 1000, PAPER if quick else LONG),
        *(population("pes", n, PAPER) for n in sizes),
        population("pes", 4, PAPER),
        population("es-single", 1000, PAPER),
        *(population("es-single", n, PAPER) for n in sizes),
        population("es-single", 4, LONG),
    ]


class Track(NamedTuple):
    """How far from the optimum one contestant was: updates [R], distance [seeds, R]."""

    one: Contestant
    updates: np.ndarray
    distance: np.ndarray

    @property
    def at_paper(self) -> np.ndarray:
        """Distances [seeds] after the papers' number of updates."""
        return self.distance[:, np.searchsorted(self.updates, PAPER)]

    @property
    def size(self) -> int:
        """Particles, of a population."""
        return int(self.one.label.rpartition(", ")[2])


def track(one: Contestant, seeds: int) -> Track:
    """Let one contestant run."""
    # Moments every 100 updates, so that the papers' number is among them.
    history: History = minimize(
        one.method,
        optax.sgd(one.rate),
        [START],
        range(seeds),
        one.updates,
        records=one.updates // 100,
    )
    return Track(one, history.updates, np.abs(history.theta[:, :, 0] - PROBLEM.optimum))


def sweep(tracks: list[Track], style: str) -> dict[int, np.ndarray]:
    """Distances [seeds] after the papers' number of updates, by particles."""
    found = {track.size: track.at_paper for track in tracks if track.one.style == style}
    return dict(sorted(found.items()))


def figure(tracks: list[Track]):
    """Distance against updates, and distance against particles."""
    fig, (left, right) = panels(2, size=(5.4, 4.2))
    for one, updates, distance in tracks:
        if one.style in ("pes", "es-single") and not one.label.endswith((", 4", ", 1000")):
            continue  # in the other panel
        style = STYLES[one.style]
        curve(left, updates[1:], np.clip(distance, 1e-8, 1e12)[:, 1:], style, one.label)
        K = one.label.partition("K=")[2]
        look = {"marker": f"${K}$", "markersize": 5 + 3 * len(K)} if K else {"marker": style.marker}
        filled = style.color if K or not one.label.endswith(", 4") else "white"
        left.lines[-1].set(**{"markersize": 4.5, **look}, markevery=0.13, markerfacecolor=filled)
    left.axhline(AWAY, color="0.5", lw=0.8)
    left.annotate("start", (LONG, 1.2 * AWAY), **NOTE, ha="right", va="bottom")
    left.axvline(PAPER, color="0.5", lw=0.8)
    left.annotate("the papers' 3000", (1.05 * PAPER, 1.6e-8), **NOTE)
    left.set(
        title="Distance to the optimum, K = 1 unless stated",
        xlabel="updates",
        ylabel="|theta - optimum|",
        xscale="log",
        yscale="log",
        ylim=(1e-8, 1e4),
    )
    left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for name in ("es-single", "pes"):
        ends, style = sweep(tracks, name), STYLES[name]
        curve(right, list(ends), np.clip(np.array(list(ends.values())).T, 1e-8, None), style)
        right.lines[-1].set(marker=style.marker, markersize=5)
    right.axhline(AWAY, color="0.5", lw=0.8)
    right.annotate("start", (1000, 1.2 * AWAY), **NOTE, ha="right", va="bottom")
    right.set(
        title="After 3000 updates",
        xlabel="particles",
        ylabel="|theta - optimum|",
        xscale="log",
        yscale="log",
    )
    right.legend()
    letters(fig)
    return fig


def _show(values: np.ndarray) -> str:
    return f"median {np.median(values):.2g}, worst {values.max():.2g}"


def judge(tracks: list[Track], report: Report) -> None:
    """The claims; every seed has to support them."""
    by_label = {track.one.label: track for track in tracks}
    after = f"distance {AWAY:.2f} at the start; after {PAPER} updates"

    def named(label: str) -> str:
        return label.replace(", 1000", " (1000 particles)")

    for K in (1, 10, 100):
        away = by_label[f"truncated BPTT, K={K}"].at_paper
        text = f"{after}: {_show(away)}"
        report.claim(f"truncated BPTT, K={K}, moves away", PES, text, away.min() > AWAY)
    away = by_label["truncated ES, 1000"].at_paper
    text = f"{after}: {_show(away)}"
    report.claim("truncated ES (1000 particles) moves away", PES, text, away.min() > AWAY)
    for label, source in (("RTRL", PES), ("PES, 1000", PES), ("ES-Single, 1000", SINGLE)):
        left = by_label[label].at_paper
        text = f"{after}: {_show(left)}"
        report.claim(f"{named(label)} converges", source, text, left.max() < CLOSE)
    for label, source, claim in (
        ("UORO", PES, "UORO converges (a tenth of the learning rate)"),
        ("ES-Single, 4", SINGLE, "ES-Single converges with 4 particles"),
    ):
        found = by_label[label]
        text = f"{after}: {_show(found.at_paper)}; after {LONG}: {_show(found.distance[:, -1])}"
        report.claim(claim, source, text, found.distance[:, -1].max() < CLOSE)
    ends = sweep(tracks, "pes")
    enough = [n for n in ends if all(ends[m].max() < CLOSE for m in ends if m >= n)]
    failing = "; ".join(f"{n}: {_show(e)}" for n, e in ends.items() if e.max() >= CLOSE)
    report.claim(
        "PES needs about 1000 particles",
        SINGLE,
        f"after {PAPER} updates every seed is within {CLOSE} from {min(enough, default=None)} "
        f"particles on; {failing}",
        bool(enough) and 100 < min(enough) <= 1000,
    )


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, tracks = 3 if quick else 10, []
    report.setting(
        theta=START,
        perturb_std=SIGMA,
        learning_rate=RATE,
        learning_rate_uoro=RATE / 10,
        optimizer="sgd",
        segment_length=1,
        horizon=None,
        units=PROBLEM.n,
        positive=PROBLEM.p,
        seeds=seeds,
    )
    for one in contestants(quick):
        tracks.append(track(one, seeds))
        report.note(f"{one.label}: distance {_show(tracks[-1].distance[:, -1])}")
    report.result(
        optimum=PROBLEM.optimum,
        curves={t.one.label: {"updates": t.updates, "distance": t.distance} for t in tracks},
    )
    judge(tracks, report)
    report.figure("influence-balancing", figure(tracks))


EXPERIMENT = Experiment(
    name="influence-balancing",
    description="short and long-term effects of one parameter pull in opposite directions",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023",
    minutes=3,
    run=run,
)
