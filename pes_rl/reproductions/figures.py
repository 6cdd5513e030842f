"""One plotting style for all reproductions: every method has a colour, a dash and a marker.

The dashes and markers alone tell methods apart, so figures survive greyscale and colour blindness
(the colours are Okabe and Ito's).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")  # files only, with or without a display

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Style(NamedTuple):
    """How one method looks."""

    label: str
    color: str
    dash: Any
    marker: str

    def line(self, label: str | None = None) -> dict[str, Any]:
        """Keyword arguments of ``plot``; ``label`` replaces the method's name."""
        return {"color": self.color, "ls": self.dash, "label": label or self.label}


STYLES = {
    "es-single": Style("ES-Single", "#0072B2", "-", "o"),
    "pes": Style("PES", "#D55E00", (0, (6, 2)), "s"),
    "truncated-es": Style("truncated ES", "#009E73", (0, (1, 1.5)), "^"),
    "es": Style("full ES", "#E69F00", (0, (5, 1.5, 1, 1.5)), "D"),
    "gpes": Style("GPES", "#F0E442", (0, (3, 3)), "p"),
    "pes-analytic": Style("PES + analytic", "#CC79A7", (0, (8, 2, 2, 2)), "P"),
    "bptt": Style("full BPTT", "#000000", (0, (2, 2)), "v"),
    "truncated-bptt": Style("truncated BPTT", "#7F7F7F", (0, (4, 1, 1, 1, 1, 1)), "<"),
    "rtrl": Style("RTRL", "#56B4E9", (0, (10, 3)), "X"),
    "uoro": Style("UORO", "#8C6D31", (0, (3, 1, 1, 1)), ">"),
    "random-search": Style("random search", "#444444", (0, (1, 3)), "*"),
}

_STYLE: Any = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "pes-rl",  # equal results make equal files
}


def panels(columns: int, rows: int = 1, size: tuple[float, float] = (4.6, 3.5)) -> tuple:
    """A figure and its axes as a flat list, ``size`` inches each."""
    pyplot.rcParams.update(_STYLE)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        squeeze=False,
        layout="constrained",
    )
    return figure, list(axes.ravel())


def curve(axis: Axes, x: Any, values: Any, style: Style, label: str | None = None) -> None:
    """Median of ``values`` [seeds, points] against x, and the range of all seeds."""
    values = np.asarray(values, float)
    if len(values) > 1:
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        axis.fill_between(x, low, high, color=style.color, alpha=0.13, lw=0)
    axis.plot(x, np.nanmedian(values, axis=0), **style.line(label))


def letters(figure: Figure) -> None:
    """(a), (b), ... before the panels' titles."""
    for letter, axis in zip("abcdefghijkl", figure.axes, strict=False):
        title = axis.get_title()
        if title:
            axis.set_title("")
            axis.set_title(f"({letter}) {title}", loc="left")
