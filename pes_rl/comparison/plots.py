"""Learning curves against each clock: one panel per environment, readable without colour."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.comparison.curves import Curve, Speed
from pes_rl.comparison.statistics import band
from pes_rl.storage.files import write_bytes_atomic
from pes_rl.styles import FIGURE, NOTE, STYLES, Style

_POINTS = 201
_COLUMNS = 3
_LABELS = {
    "env_steps": "environment steps",
    "updates": "updates",
    "sequential_steps": "sequential steps (updates x segment length)",
}


def plot_returns(
    curves: Sequence[Curve],
    clock: str,
    thresholds: Mapping[str, float | None],
    stem: Path,
    speeds: Mapping[tuple[str, str], Speed] | None = None,
) -> None:
    """Write ``stem.png`` and ``stem.svg``; equal curves make equal files.

    Each line is the interquartile mean over the seeds and ends where the first of its runs does;
    its band is the pointwise bootstrap interval.

    Args:
      curves: what to draw; the order of environments and estimators is kept.
      clock: one of ``CLOCKS``.
      thresholds: a horizontal line per environment, where not None.
      stem: path without suffix.
      speeds: by environment and estimator, needed for the clock in seconds.
    """
    import matplotlib

    with matplotlib.rc_context(FIGURE):
        figure = _figure(curves, clock, thresholds, speeds or {})
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", metadata=empty)
    write_bytes_atomic(stem.with_suffix(".png"), png.getvalue())
    # Without the document type, which is a link to the W3C's site.
    text = re.sub(rb"<!DOCTYPE[^>]*>\n", b"", svg.getvalue())
    write_bytes_atomic(stem.with_suffix(".svg"), text)


def _figure(
    curves: Sequence[Curve],
    clock: str,
    thresholds: Mapping[str, float | None],
    speeds: Mapping[tuple[str, str], Speed],
) -> Any:
    from matplotlib.figure import Figure

    envs = list(dict.fromkeys(c.env for c in curves))
    names = list(dict.fromkeys(c.estimator for c in curves))
    columns = min(_COLUMNS, len(envs))
    rows = math.ceil(len(envs) / columns)
    figure = Figure(figsize=(max(4.1 * columns, 5.6), 3.15 * rows + 0.75), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = grid.ravel()
    for axis in axes[len(envs) :]:
        axis.remove()
    for index, (axis, env) in enumerate(zip(axes, envs, strict=False)):
        mine = [c for c in curves if c.env == env]
        unit, seconds = _unit(mine, clock, speeds)
        # All have had the env steps of the plan; how far beyond them a run went says nothing.
        end = min(c.env_steps[-1] for c in mine) if clock == "env_steps" else math.inf
        for name in dict.fromkeys(c.estimator for c in mine):
            runs = [c for c in mine if c.estimator == name]
            xs = [c.clock(clock, speeds.get((env, name))) / seconds for c in runs]
            _draw(axis, end, xs, [c.returns for c in runs], STYLES[name], names.index(name))
        _decorate(axis, env, thresholds[env], clock)
        axis.set_xlabel(_LABELS.get(clock, f"wall-clock time ({unit})"))
        if index % columns == 0:
            axis.set_ylabel("episode return")
    handles = [_handle(name) for name in names]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(names),
    )
    seeds = len({c.seed for c in curves})
    figure.supxlabel(
        f"Interquartile mean over {seeds} seed{'s' * (seeds > 1)}, "
        "with pointwise 95 % bootstrap intervals",
        **NOTE,
    )
    return figure


def _draw(
    axis: Any,
    end: float,
    xs: Sequence[np.ndarray],
    ys: Sequence[np.ndarray],
    style: Style,
    index: int,
) -> None:
    grid = np.linspace(0, min(end, *(x[-1] for x in xs)), _POINTS)
    values = np.array([np.interp(grid, x, y) for x, y in zip(xs, ys, strict=True)])
    middle, low, high = band(values)
    axis.fill_between(grid, low, high, color=style.color, alpha=0.12, linewidth=0)
    for edge in (low, high):  # thin lines in the same dash: overlapping bands can be told apart
        axis.plot(grid, edge, color=style.color, linestyle=style.dash, linewidth=0.6, alpha=0.55)
    axis.plot(
        grid,
        middle,
        color=style.color,
        linestyle=style.dash,
        marker=style.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        # Shifted from one estimator to the next, so that markers do not hide one another.
        markevery=(5 + 7 * index, 33),
        zorder=3 + (style is STYLES["es-single"]),
    )
    # The last point has a marker of its own: it says where the line ends.
    last = grid[-1:], middle[-1:]
    axis.plot(*last, style.marker, color=style.color, markersize=6.5, zorder=5, clip_on=False)


def _decorate(axis: Any, env: str, threshold: float | None, clock: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if threshold is not None:
        axis.axhline(threshold, color="0.45", linewidth=0.9, zorder=1)
        axis.annotate(
            f"solved\n{threshold:g}",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(7, 0),  # outside, where it hides nothing
            textcoords="offset points",
            va="center",
            **NOTE,
        )
    axis.set_title(env)
    axis.margins(x=0, y=0.07)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if clock != "seconds":
        axis.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _unit(
    curves: Sequence[Curve], clock: str, speeds: Mapping[tuple[str, str], Speed]
) -> tuple[str, float]:
    """The unit of the x-axis, and what to divide by."""
    if clock != "seconds":
        return "", 1.0
    longest = max(c.clock(clock, speeds[c.env, c.estimator])[-1] for c in curves)
    units = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
    return next((unit for unit in units if longest >= 3 * unit[1]), units[-1])


def _handle(name: str) -> Any:
    from matplotlib.lines import Line2D

    style = STYLES[name]
    return Line2D(
        [],
        [],
        color=style.color,
        linestyle=style.dash,
        marker=style.marker,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=name,
    )
