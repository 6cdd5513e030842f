"""What the figures of all reproductions share; `pes_rl.styles` says how they look."""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, with or without a display

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pes_rl.styles import FIGURE, Style


def panels(columns: int, rows: int = 1, size: tuple[float, float] = (4.6, 3.5)) -> tuple:
    """A figure and its axes as a flat list, ``size`` inches each."""
    pyplot.rcParams.update(FIGURE)
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
