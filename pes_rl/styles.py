"""How figures look, and each method in them: one colour, dash and marker, readable without colour.

Most colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# Matplotlib's settings of every figure, of comparisons, reproductions and benchmarks alike.
FIGURE: Any = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "pes-rl",  # equal results make equal files
}
NOTE: dict[str, Any] = {"fontsize": 8, "color": "0.35"}  # of texts beside the data


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
