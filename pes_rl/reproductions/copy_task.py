"""Copy task: an LSTM learns to remember ever longer sequences, by gradients that see how far?"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems.copy_task import CopyTask
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import STYLES, curve, letters, panels
from pes_rl.unrolled import Method, bptt, evolution, make_loop, truncated_bptt, uoro

HIDDEN, LONGEST, K = 8, 12, 1
SOLVED = 0.15  # bits per character at which the sequences grow
QUICK, FULL = 200_000, 2_000_000  # unrolled steps of every method and seed
CHECK, SEQUENCES = 50, 64  # updates between looks at the unperturbed network, on fresh sequences
FACTORIES = {"es-single": es_single, "pes": pes, "truncated-es": truncated_es}
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


class Contestant(NamedTuple):
    """One method: style, particles, learning rate of Adam, and sigma of a population."""

    style: str
    particles: int
    rate: float
    sigma: float = 0.0

    def method(self, problem: CopyTask) -> Method:
        """On the problem of one curriculum length, which may be traced."""
        T, M = problem.horizon, self.particles
        if self.style in FACTORIES:
            factory = FACTORIES[self.style]
            return evolution(problem, factory(M // 2, self.sigma, K, T))
        if self.style == "bptt":
            return bptt(problem, T, num_particles=M)
        kind = uoro if self.style == "uoro" else truncated_bptt
        return kind(problem, K, T, num_particles=M)


CONTESTANTS = (
    Contestant("es-single", 200, 1e-2, 0.1),
    Contestant("pes", 200, 1e-2, 0.1),
    Contestant("truncated-es", 200, 1e-2, 0.1),
    Contestant("truncated-bptt", 200, 1e-2),
    Contestant("uoro", 200, 1e-3),
    Contestant("bptt", 20, 1e-2),
)


class Curriculum(NamedTuple):
    """State of one seed: the loop's, the length to learn, steps unrolled, checks made."""

    loop: Any
    length: jax.Array
    steps: jax.Array
    key: jax.Array


class Track(NamedTuple):
    """Of S seeds at R checks: steps unrolled, length reached, bits at it [S, R]; invalid total."""

    steps: np.ndarray
    length: np.ndarray
    bits: np.ndarray
    invalid: int

    def reached(self, budget: int) -> np.ndarray:
        """Longest sequence that each seed [S] solved within a number of steps; 0 for none."""
        ends = [
            _held(np.array([budget]), *each)
            for each in zip(self.steps, self.length - 1, strict=True)
        ]
        return np.concatenate(ends)


def task(length: Any) -> CopyTask:
    """Lengths from five below the curriculum's on (Mujika, Meier and Steger 2018)."""
    return CopyTask(length, LONGEST, spread=5, hidden=HIDDEN)


def follow(one: Contestant, seeds: int, budget: int) -> Track:
    """Train until every seed has unrolled ``budget`` steps; the length grows when solved."""
    optimizer = optax.adam(one.rate)

    def loop(length: Any):
        return make_loop(one.method(task(length)), optimizer)

    def begin(key: Any) -> Curriculum:
        theta_key, loop_key, check_key = jax.random.split(key, 3)
        theta = task(1).initial_theta(theta_key)
        zero = jnp.zeros((), jnp.int32)
        return Curriculum(loop(1).init(loop_key, theta), zero + 1, zero, check_key)

    def advance(state: Curriculum, updates: Any):
        def body(_, carry):
            inner, steps, invalid = carry
            inner, metrics = loop(state.length).update(inner)
            return inner, steps + metrics.steps, invalid + metrics.invalid

        blank = state.loop, state.steps, jnp.zeros((), jnp.int32)
        inner, steps, invalid = jax.lax.fori_loop(0, updates, body, blank)
        key, check = jax.random.split(state.key)
        bits = task(state.length).bits_per_character(check, inner.theta, SEQUENCES)
        grown = state.length + ((bits < SOLVED) & (state.length < LONGEST))
        return Curriculum(inner, grown, steps, key), (steps, grown, bits, invalid)

    state = jax.jit(jax.vmap(begin))(jax.random.split(jax.random.key(0), seeds))
    onward = jax.jit(jax.vmap(advance, (0, None)), donate_argnums=0)
    updates = jnp.int32(5 if one.style == "bptt" else CHECK)  # an update is a whole episode there
    rows: list[list[np.ndarray]] = []
    while not rows or rows[-1][0].min() < budget:
        state, row = onward(state, updates)
        rows.append([np.asarray(value) for value in row])
    steps, length, bits, invalid = (np.stack(each, axis=1) for each in zip(*rows, strict=True))
    return Track(steps, length, bits, int(invalid.sum()))


def figure(tracks: dict[str, Track], budget: int):
    """Length reached, and bits at it, against steps unrolled."""
    fig, (left, right) = panels(2, size=(5.0, 3.8))
    grid = np.linspace(0, budget, 200)
    for style, track in tracks.items():
        pairs = list(zip(track.steps, track.length, track.bits, strict=True))
        # Lengths jump, so the last one reached counts; bits are smooth.
        lengths = [_held(grid, steps, length - 1) for steps, length, _ in pairs]
        curve(left, grid, lengths, STYLES[style])
        smooth = [np.interp(grid, steps, bits) for steps, _, bits in pairs]
        curve(right, grid, smooth, STYLES[style])
        for axis in (left, right):
            axis.lines[-1].set(marker=STYLES[style].marker, markersize=5, markevery=25)
    left.set(title="Longest sequence solved", xlabel="steps unrolled", ylabel="length")
    left.legend()
    right.axhline(1, color="0.5", lw=0.8)
    right.axhline(SOLVED, color="0.5", lw=0.8)
    right.set(title="Bits per character at the length in training", xlabel="steps unrolled")
    right.set(ylabel="bits", ylim=(0, 1.3))
    letters(fig)
    return fig


def _held(grid: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value at the last of ``steps`` up to each point, 0 before the first."""
    return np.append(0, values)[np.searchsorted(steps, grid, side="right")]


def judge(reached: dict[str, np.ndarray], report: Report) -> None:
    """The claims: of mean lengths over seeds."""

    def show(style: str) -> str:
        lengths = ", ".join(map(str, sorted(reached[style])))
        return f"{STYLES[style].label} {lengths}"

    means = {style: lengths.mean() for style, lengths in reached.items()}
    for longer, shorter, source in (
        ("pes", "truncated-es", PES),
        ("pes", "truncated-bptt", PES),
        ("es-single", "truncated-es", SINGLE),
        ("es-single", "truncated-bptt", SINGLE),
        ("es-single", "pes", SINGLE),
    ):
        report.claim(
            f"{STYLES[longer].label} copies longer sequences than {STYLES[shorter].label}, "
            f"both with K = {K}",
            source,
            f"longest sequence solved, by seed: {show(longer)}; {show(shorter)}",
            means[longer] > means[shorter],
        )


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    seeds, budget = (1, QUICK) if quick else (3, FULL)
    chosen = [c for c in CONTESTANTS if not quick or c.style not in ("uoro", "bptt")]
    report.setting(
        hidden=HIDDEN,
        num_params=task(1).num_params,
        longest=LONGEST,
        segment_length=K,
        solved_bits=SOLVED,
        seeds=seeds,
        steps=budget,
        optimizer="adam",
        contestants={c.style: c._asdict() for c in chosen},
        papers="hidden 100, 42804 parameters, K = 1, 1000 particles (Vicol et al. 2023)",
    )
    tracks, reached = {}, {}
    for one in chosen:
        tracks[one.style] = track = follow(one, seeds, budget)
        reached[one.style] = lengths = track.reached(budget)
        report.note(f"{one.style}: length {lengths}, bits {track.bits[:, -1].round(2)}")
    report.result(
        reached=reached, tracks={style: track._asdict() for style, track in tracks.items()}
    )
    judge(reached, report)
    report.figure("copy-task", figure(tracks, budget))


EXPERIMENT = Experiment(
    name="copy-task",
    description="an LSTM learns to copy ever longer sequences (curriculum)",
    source="Vicol, Kolter and Swersky 2023; task and curriculum: Mujika et al. 2018",
    minutes=20,
    run=run,
)
