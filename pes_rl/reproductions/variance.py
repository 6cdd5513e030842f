"""Gradient variance against the number of unrolls per episode: theory, and a small LSTM on text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.estimators import es_single, pes
from pes_rl.problems import Problem
from pes_rl.problems.char_lstm import CharLSTM
from pes_rl.problems.linear import LinearSegments, Tracking
from pes_rl.problems.text import python_manual
from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import STYLES, letters, panels
from pes_rl.reproductions.variance_theory import (
    es_single_variance,
    pes_variance,
    pes_variance_own,
)
from pes_rl.unrolled import bptt, evolution, summed_gradients

FACTORIES = {"es-single": es_single, "pes": pes}
CLOSED_FORM, TOLERANCE = "closed form (reproductions/variance_theory.py)", 0.05
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


Measured = dict[str, dict[int, tuple[float, float]]]


@dataclass
class Panel:
    """One setting: variances of one pair by estimator and number of unrolls, over |g|^2.

    Attributes:
      title: above the panel.
      num_params: P.
      measured: estimator -> unrolls -> (mean, standard error).
      theory: estimator -> unrolls -> value; empty where there is none.
    """

    title: str
    num_params: int
    measured: Measured = field(default_factory=dict)
    theory: dict[str, dict[int, float]] = field(default_factory=dict)

    def worst(self, estimator: str) -> float:
        """Largest relative deviation of the measured from the theory."""
        theory, measured = self.theory[estimator], self.measured[estimator]
        return max(abs(measured[M][0] / theory[M] - 1) for M in measured)

    def value(self, estimator: str, unrolls: int) -> float:
        """Measured variance."""
        return self.measured[estimator][unrolls][0]

    def crossing(self) -> str:
        """From where on PES varies more than ES-Single: interpolated between the points."""
        level = float(np.mean([mean for mean, _ in self.measured["es-single"].values()]))
        points = sorted((M, mean) for M, (mean, _) in self.measured["pes"].items())
        above = [M for M, mean in points if M > 1 and mean > level]
        if not above:
            return "PES varies less at every number of unrolls"
        first = [M for M, _ in points].index(above[0])
        (a, low), (b, high) = points[first - 1], points[first]
        if a == 1:  # one unroll is one draw: the same estimator
            return "PES varies more as soon as there is more than one unroll"
        part = np.log(level / low) / np.log(high / low)
        return f"the curves cross at {a * (b / a) ** part:.0f} unrolls"


def spread(estimates: Any, exact: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of |estimate - exact|^2 / |exact|^2 over estimates [R, P]."""
    squares = ((np.asarray(estimates, float) - exact) ** 2).sum(axis=1) / (exact @ exact)
    return float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))


def measure(
    make: Callable[[Any], Problem],
    variants: dict[str, tuple[Any, np.ndarray]],
    theta: jax.Array,
    unrolls: tuple[int, ...],
    pairs: int,
    perturb_std: float,
    T: int,
) -> dict[str, Measured]:
    """Variances of single pairs over episodes of T steps cut into M segments.

    Args:
      make: builds a problem from its data.
      variants: data and exact gradient [P] by name; one program serves them all.
      theta: [P].
      unrolls: the numbers M.
      pairs: single pairs to average over; every M and every variant sees the same noise.
      perturb_std: sigma.
      T: steps per episode.
    """
    keys = jax.random.split(jax.random.key(0), pairs)
    found: dict[str, Measured] = {name: {} for name in variants}
    for estimator, factory in FACTORIES.items():
        # ES-Single's sum over an episode does not depend on where the cuts are: few points do.
        few = (unrolls[0], *unrolls[3:-1:3], unrolls[-1])
        for M in unrolls if estimator == "pes" else few:

            def sums(data: Any, theta: Any, keys: Any, K: int = T // M, factory: Any = factory):
                method = evolution(make(data), factory(1, perturb_std, K, T, staggered=False))
                return summed_gradients(method)(theta, keys, jnp.int32(T // K))

            compiled = jax.jit(sums)
            for name, (data, exact) in variants.items():
                points = found[name].setdefault(estimator, {})
                points[M] = spread(compiled(data, theta, keys), exact)
    return found


def linear(unrolls: tuple[int, ...], pairs: int) -> list[Panel]:
    """Every segment feels its own parameters only; its gradients are equal, or independent."""
    P, longest = 20, max(unrolls)
    draws = np.random.default_rng(0).normal(size=(longest, P))
    kinds = {"identical": np.tile(draws[:1], (longest, 1)), "independent": draws}
    keys = jax.random.split(jax.random.key(0), pairs)
    made = {}
    for kind, gradients in kinds.items():
        made[kind] = Panel(f"Linear, {kind} segment gradients", P)
        totals = {M: gradients[:M].sum(axis=0) for M in unrolls}
        made[kind].theory = {
            "es-single": {M: es_single_variance(g) / float(g @ g) for M, g in totals.items()},
            "pes": {M: pes_variance_own(gradients[:M]) / float(g @ g) for M, g in totals.items()},
        }
    for estimator, factory in FACTORIES.items():

        def sums(gradients: Any, keys: Any, M: Any, factory: Any = factory) -> jax.Array:
            # An episode of M segments is the beginning of a longer one: one program for all M.
            estimator = factory(1, 1.0, 1, longest, staggered=False)
            method = evolution(LinearSegments(gradients), estimator)
            return summed_gradients(method)(jnp.zeros(P), keys, M)

        compiled = jax.jit(sums)
        for kind, gradients in kinds.items():
            data = jnp.asarray(gradients, jnp.float32)
            made[kind].measured[estimator] = {
                M: spread(compiled(data, keys, jnp.int32(M)), gradients[:M].sum(axis=0))
                for M in unrolls
            }
    return list(made.values())


def quadratic(unrolls: tuple[int, ...], pairs: int, T: int) -> list[Panel]:
    """A system that remembers all earlier parameters follows constant, or noisy, targets."""
    S, P, rng = 4, 10, np.random.default_rng(1)
    A = jnp.asarray(0.8 * np.linalg.qr(rng.normal(size=(S, S)))[0], jnp.float32)
    B = jnp.asarray(rng.normal(size=(S, P)) / np.sqrt(P), jnp.float32)
    theta = jnp.asarray(rng.normal(size=P), jnp.float32)
    noise = 10 * rng.normal(size=(T, S))
    kinds = {"constant": np.ones((T, S)), "noisy": 1 + noise}

    def make(targets: Any) -> Tracking:
        return Tracking(A, B, targets)

    variants = with_gradients(make, kinds, jnp.float32, theta, T)
    measured = measure(make, variants, theta, unrolls, pairs, 0.1, T)
    made = []
    for kind, (targets, exact) in variants.items():
        square = float(exact @ exact)
        forms = {
            M: pes_variance(segment_jacobian(make(targets), theta, M, T)) / square for M in unrolls
        }
        flat = dict.fromkeys(unrolls, es_single_variance(exact) / square)
        theory = {"es-single": flat, "pes": forms}
        made.append(Panel(f"Quadratic with memory, {kind} targets", P, measured[kind], theory))
    return made


def lstm(unrolls: tuple[int, ...], pairs: int, T: int) -> dict[str, Panel]:
    """A small LSTM at its initial weights, on one sequence of characters."""
    corpus, vocabulary = python_manual(), 50
    kinds = {
        "real": corpus.ids[: T + 1],
        "random": np.random.default_rng(5).integers(0, vocabulary, T + 1),
        "repeated": np.full(T + 1, corpus.ids[0]),
    }

    def make(sequence: Any) -> CharLSTM:
        return CharLSTM(sequence, vocabulary)

    theta = make(None).initial_theta(jax.random.key(42))
    variants = with_gradients(make, kinds, jnp.int32, theta, T)
    measured = measure(make, variants, theta, unrolls, pairs, 1e-3, T)
    return {kind: Panel(f"LSTM, {kind} characters", theta.size, measured[kind]) for kind in kinds}


def with_gradients(
    make: Callable[[Any], Problem], kinds: dict[str, np.ndarray], dtype: Any, theta: Any, T: int
) -> dict[str, tuple[Any, np.ndarray]]:
    """Data on the device, and the exact gradient by backpropagation."""
    key = jax.random.split(jax.random.key(0), 1)
    exact = jax.jit(lambda data: summed_gradients(bptt(make(data), T))(theta, key, jnp.int32(1))[0])
    data = {kind: jnp.asarray(array, dtype) for kind, array in kinds.items()}
    return {kind: (each, np.asarray(exact(each), float)) for kind, each in data.items()}


def segment_jacobian(problem: Problem, theta: jax.Array, segments: int, T: int) -> np.ndarray:
    """G [M, M, P]: derivative of segment k's loss through the parameters of segment j."""

    def losses(thetas: jax.Array) -> jax.Array:
        def step(carry, t):
            carry, out = problem.step(None, thetas[t // (T // segments)], carry)
            return carry, out.loss

        each = jax.lax.scan(step, problem.init(None, theta), jnp.arange(T))[1]
        return each.reshape(segments, -1).sum(axis=1)

    return np.asarray(jax.jit(jax.jacrev(losses))(jnp.tile(theta, (segments, 1))), float)


def figure(rows: list[Panel], columns: int, note: str):
    """All panels: markers as measured, lines for the closed form where there is one."""
    fig, axes = panels(columns, len(rows) // columns, size=(4.4, 3.4))
    for axis, panel in zip(axes, rows, strict=True):
        level, values = panel.num_params + 1, [panel.num_params + 1]
        for estimator, points in panel.measured.items():
            style = STYLES[estimator]
            mean, error = np.array(list(points.values())).T
            theory = panel.theory.get(estimator, {})
            axis.errorbar(
                list(points),
                mean,
                3 * error,
                color=style.color,
                marker=style.marker,
                ls="none" if theory else style.dash,
                label=f"{style.label}, measured",
            )
            if theory:
                line = style.line(f"{style.label}, closed form")
                axis.plot(list(theory), list(theory.values()), **line)
            values += [*mean, *theory.values()]
        axis.axhline(level, color="0.5", lw=0.8)
        axis.annotate(
            f"P + 1 = {level}",
            (0.3, level),
            xytext=(0, -10),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            color="0.35",
        )
        axis.set(title=panel.title, xlabel="unrolls per episode", xscale="log", yscale="log")
        low, high = min(values), max(values)
        axis.set_ylim(low / (high / low) ** 0.1, high * (high / low) ** 0.6)  # room for legends
        axis.legend(loc="upper left")
    for axis in axes[::columns]:
        axis.set_ylabel("variance of one pair / |g|^2")
    fig.suptitle(f"{note}, bars: 3 standard errors", fontsize=8, color="0.35")
    letters(fig)
    return fig


def judge_theory(rows: list[Panel], report: Report) -> None:
    """Closed forms, and what the papers say of identical and independent gradients."""
    for panel in rows:
        for estimator in FACTORIES:
            form = "(P + 1) |g|^2, flat in the number of unrolls"
            if estimator == "pes":
                form = "sum_k (k P + 1) |c_k|^2"
                if panel.title.startswith("Quadratic"):
                    form = "P sum |W_ij|^2 + sum W_ij . W_ji"
            worst, most = panel.worst(estimator), max(panel.measured[estimator])
            report.claim(
                f"{panel.title}: the variance of {STYLES[estimator].label} is {form}",
                CLOSED_FORM,
                f"1 to {most} unrolls, largest deviation {worst:.1%}, tolerance {TOLERANCE:.0%}",
                worst < TOLERANCE,
            )
    same, different = rows[0], rows[1]
    last = max(same.measured["pes"])
    for panel, claim, grows in (
        (same, "PES: the variance grows linearly when segments have identical gradients", True),
        (different, "PES: the variance falls slightly when segments' gradients are i.i.d.", False),
    ):
        ratio = panel.value("pes", last) / panel.value("pes", 1)
        text = (
            f"{panel.title.lower()}: x {ratio:.3g} from 1 to {last} unrolls, as the closed form "
            "says; it is identical gradients that make it fall, to P / 2, and independent ones "
            "that make it grow"
        )
        report.claim(claim, f"{SINGLE}, as summarised", text, (ratio > 2) is grows)


def judge_lstm(rows: dict[str, Panel], report: Report) -> None:
    """Falling, rising and crossing on text."""
    for panel in rows.values():
        values = [panel.value("es-single", M) for M in panel.measured["es-single"]]
        change = max(values) / min(values) - 1
        report.claim(
            f"{panel.title}: ES-Single is flat in the number of unrolls",
            SINGLE,
            f"largest change with the same noise {change:.2%}",
            change < 0.03,
        )
    real = rows["real"]
    points = real.measured["pes"]
    unrolls = sorted(points)
    lowest = min(unrolls, key=lambda M: points[M][0])
    last, before = unrolls[-1], unrolls[-2]
    report.claim(
        "real characters: PES first falls, then grows",
        PES,
        f"relative to one unroll {points[lowest][0] / points[1][0]:.2f} at {lowest} unrolls, the "
        f"lowest, and {points[last][0] / points[1][0]:.2f} at {last}",
        lowest > 1 and points[last][0] > points[1][0],
    )
    if last / before < 5:
        slope = np.log(points[last][0] / points[before][0]) / np.log(last / before)
        text = f"exponent {slope:.2f} from {before} to {last} unrolls"
        claim = "real characters: with many unrolls PES grows linearly"
        report.claim(claim, PES, text, 0.8 < slope < 1.2)
    for kind, panel in rows.items():
        ends = panel.value("pes", last) / panel.value("es-single", last)
        report.claim(
            f"{kind} characters: with many unrolls ES-Single varies less than PES",
            SINGLE,
            f"{panel.crossing()}; at {last} unrolls PES has {ends:.2g} times the variance",
            ends > 1,
        )


def run(quick: bool, report: Report) -> None:
    """Compute, draw, judge."""
    many = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    unrolls, pairs, T = ((1, 10, 100), 10_000, 100) if quick else (many, 40_000, 1_000)
    text_unrolls, text_pairs = ((1, 10, 100, 1000), 100) if quick else (many, 1_000)
    report.setting(
        horizon=T,
        horizon_lstm=1000,
        unrolls=unrolls,
        unrolls_lstm=text_unrolls,
        pairs=pairs,
        pairs_lstm=text_pairs,
        perturb_std={"linear": 1.0, "quadratic": 0.1, "lstm": 1e-3},
        theta="frozen",
        text="Python's language reference (pydoc_data.topics)",
    )
    theory = linear(unrolls, pairs)
    report.note("linear problem")
    theory += quadratic(unrolls, pairs, T)
    report.note("quadratic problem")
    text = lstm(text_unrolls, text_pairs, 1000)
    report.note("LSTM")
    for panel in (*theory, *text.values()):
        report.result(**{panel.title: {"measured": panel.measured, "theory": panel.theory}})
    judge_theory(theory, report)
    judge_lstm(text, report)
    report.figure("variance-theory", figure(theory, 2, f"{pairs} pairs"))
    report.figure("variance-lstm", figure(list(text.values()), 3, f"{text_pairs} pairs"))


EXPERIMENT = Experiment(
    name="variance",
    description="gradient variance against unrolls per episode: closed forms, an LSTM on text",
    source="Vicol, Metz and Sohl-Dickstein 2021; Vicol, Kolter and Swersky 2023, section 3",
    minutes=15,
    run=run,
)
