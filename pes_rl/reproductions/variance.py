"""Gradient variance against the number of unrolls per episode: theory, and a small LSTM on text."""

from __future__ import annotations

import numpy as np

from pes_rl.reproductions.experiment import Experiment, Report
from pes_rl.reproductions.figures import letters, panels
from pes_rl.reproductions.variance_panels import FACTORIES, Panel, linear, lstm, quadratic
from pes_rl.styles import NOTE, STYLES

CLOSED_FORM, TOLERANCE = "closed form (reproductions/variance_theory.py)", 0.05
PES, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"


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
            f"P + 1\n= {level}",
            (1, level),
            xytext=(7, 0),  # outside, where it hides nothing
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            **NOTE,
        )
        axis.set(title=panel.title, xlabel="unrolls per episode", xscale="log", yscale="log")
        low, high = min(values), max(values)
        axis.set_ylim(low / (high / low) ** 0.1, high * (high / low) ** 0.6)  # room for legends
        axis.legend(loc="upper left")
    for axis in axes[::columns]:
        axis.set_ylabel("variance of one pair / |g|^2")
    fig.suptitle(f"{note}, bars: 3 standard errors", **NOTE)
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
