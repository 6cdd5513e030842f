"""Copy task: an LSTM learns to remember ever longer sequences, by gradients that see how far?"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.problems.copy_task import CopyTask
from pes_rl.reproductions.curriculum import SOLVED, Lesson, Seen, check
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import curve, letters, panels
from pes_rl.reproductions.recurrent import (
    RATES,
    SEARCH,
    SIGMAS,
    Course,
    Rows,
    Scheme,
    choose,
    program,
    reported,
)
from pes_rl.reproductions.recurrent_paper import COPYING
from pes_rl.styles import NOTE, STYLES

HIDDEN, LONGEST, K, PARTICLES = 8, 12, 1, 200
SEARCHED, FULL, QUICK = 300_000, 1_500_000, 200_000  # unrolled steps of every training
CHECK = 50  # updates between looks at the unperturbed network
JUDGED, LEAST = 500, 3  # sequences that judge the end, for every length; the length in the claims
METHODS = ("truncated-bptt", "truncated-es", "pes", "es-single")
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


def task(length: Any) -> CopyTask:
    """Lengths from five below the curriculum's on (Mujika, Meier and Steger 2018)."""
    return CopyTask(length, LONGEST, spread=5, hidden=HIDDEN)


def scheme(style: str) -> Scheme:
    """All methods update after every step."""
    return Scheme(style, PARTICLES, K, task(1).horizon)


@jax.jit
@jax.vmap
def look(theta: jax.Array, lesson: Lesson) -> tuple[Lesson, Seen]:
    """`check` at the size of this file."""
    return check(task(lesson.length), theta, lesson)


COURSE = Course(
    problem=lambda lesson: task(lesson.length),
    lesson=lambda key: Lesson(jnp.ones((), jnp.int32), key),
    look=look,
)


def unsolved(rows: Rows) -> np.ndarray:
    """What the search minimises: first of all the longer sequences count, then the bits."""
    return (rows.seen.bits - rows.seen.length)[:, -1]


def solved(rows: Rows, moments: np.ndarray) -> np.ndarray:
    """Longest sequence that each lane had solved at numbers of steps: [lanes, moments]."""
    pairs = zip(rows.steps, rows.seen.length - 1, strict=True)
    return np.stack([_held(moments, *each) for each in pairs])


@jax.jit
def bits_by_length(theta: jax.Array) -> jax.Array:
    """Of networks [S, P], bits per character of sequences of 1, 2, ... symbols: [S, longest]."""

    def bits(length: Any) -> jax.Array:
        judge = CopyTask(length, LONGEST, hidden=HIDDEN)
        key = jax.random.key(SEARCH)
        return jax.vmap(lambda one: judge.bits_per_character(key, one, JUDGED))(theta)

    return jax.lax.map(bits, jnp.arange(1, LONGEST + 1)).T


class Outcome(NamedTuple):
    """Of one method: its rows, the longest sequences solved [S], the final bits [S, longest]."""

    rows: Rows
    reached: np.ndarray
    bits: np.ndarray


def follow(run: Any, rate: float, sigma: float, seeds: int, budget: int) -> Outcome:
    """Train the reported seeds, and judge where they end."""
    state, rows = run(reported(rate, sigma, seeds), CHECK, budget)
    reached = solved(rows, np.array([budget]))[:, 0]
    return Outcome(rows, reached, np.asarray(bits_by_length(state.loop.theta)))


def figure(outcomes: dict[str, Outcome], budget: int):
    """Length reached against steps unrolled, and bits at the end against length."""
    fig, (left, right) = panels(2, size=(5.0, 3.8))
    grid, lengths = np.linspace(0, budget, 200), np.arange(1, LONGEST + 1)
    for name, (rows, _, bits) in outcomes.items():
        curve(left, grid, solved(rows, grid), STYLES[name])
        curve(right, lengths, bits, STYLES[name])
        left.lines[-1].set(marker=STYLES[name].marker, markersize=5, markevery=25)
        right.lines[-1].set(marker=STYLES[name].marker, markersize=5)
    left.set(title="Longest sequence solved", xlabel="steps unrolled", ylabel="length")
    left.locator_params(axis="y", integer=True)
    left.ticklabel_format(axis="x", style="sci", scilimits=(6, 6))
    left.legend()
    right.axhline(1, color="0.5", lw=0.8)
    right.axhline(SOLVED, color="0.5", lw=0.8)
    right.annotate("guessing", (LONGEST, 1.01), **NOTE, ha="right", va="bottom")
    right.set(title="Bits per character at the end", xlabel="length", ylabel="bits", ylim=(0, 2))
    letters(fig)
    return fig


def _held(grid: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value at the last of ``steps`` up to each point, 0 before the first."""
    return np.append(0, values)[np.searchsorted(steps, grid, side="right")]


def judge(outcomes: dict[str, Outcome], report: Report) -> None:
    """The claims; a method is better if its worst seed is better than the other's best."""

    def show(name: str) -> str:
        one = outcomes[name]
        bits = one.bits[:, LEAST - 1].mean()
        return (
            f"{STYLES[name].label} {', '.join(map(str, sorted(one.reached)))} "
            f"({bits:.2f} bits per character at length {LEAST})"
        )

    for longer, shorter, source in (
        ("pes", "truncated-es", PES),
        ("pes", "truncated-bptt", PES),
        ("es-single", "truncated-es", SINGLE),
        ("es-single", "truncated-bptt", SINGLE),
        ("es-single", "pes", SINGLE),
    ):
        report.claim(
            f"{STYLES[longer].label} copies longer sequences than {STYLES[shorter].label}, "
            f"whatever the seeds, both with K = {K}",
            source,
            f"longest sequence solved, by seed: {show(longer)}; {show(shorter)}",
            outcomes[longer].reached.min() > outcomes[shorter].reached.max(),
        )


def run(quick: bool, report: Report) -> None:
    """Search, compute, draw, judge."""
    seeds, budget, search = (1, QUICK, None) if quick else (3, FULL, SEARCHED)
    report.setting(
        hidden=HIDDEN,
        num_params=task(1).num_params,
        longest=LONGEST,
        segment_length=K,
        particles=PARTICLES,
        solved_bits=SOLVED,
        seeds=seeds,
        steps=budget,
        optimizer="adam",
        search=search and {"rates": RATES, "sigmas": SIGMAS, "steps": search},
        papers="hidden 100, 42804 parameters, K = 1, 1000 particles (Vicol et al. 2023)",
    )
    outcomes, searched, chosen = {}, {}, {}
    for style in METHODS:
        train = program(COURSE, scheme(style))
        rate, sigma, tried = choose(train, scheme(style), unsolved, CHECK, search, report)
        searched[style] = [one._asdict() for one in tried]
        chosen[style] = rate, sigma
        outcomes[style] = one = follow(train, rate, sigma, seeds, budget)
        report.note(f"{style}: length {one.reached}, bits {one.bits.mean(axis=0).round(2)}")
    report.setting(rate_and_sigma=chosen)
    report.result(
        searched=searched,
        methods={
            name: {
                "reached": one.reached,
                "bits_by_length": one.bits,
                "steps": one.rows.steps,
                "length_in_training": one.rows.seen.length,
                "invalid_particles": one.rows.invalid[:, -1],
            }
            for name, one in outcomes.items()
        },
    )
    judge(outcomes, report)
    report.figure("copy-task", figure(outcomes, budget))


EXPERIMENT = Experiment(
    name="copy-task",
    description="an LSTM learns to copy ever longer sequences (curriculum)",
    source="Vicol, Kolter and Swersky 2023; task and curriculum: Mujika et al. 2018",
    minutes=5,
    run=run,
    paper=COPYING,
)
