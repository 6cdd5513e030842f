"""Estimates as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pes_rl.comparison.statistics import Estimate


def amount(value: float) -> str:
    """Counts: ``950``, ``60.8 k``, ``1.4 M``."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1e3 if letter == ' k' else size):.3g}{letter}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Times: ``7.5 s``, ``12 min``, ``3.2 h``."""
    for size, unit in ((7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / (3600 if unit == 'h' else 60):.3g} {unit}"
    return f"{seconds:.3g} s"


def level(value: float) -> str:
    """Returns: ``4398``, ``35.6``, ``-3.75``."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(value: float) -> str:
    """Ratios and probabilities: ``0.18``, ``12``."""
    return f"{value:.3g}" if value >= 10 else f"{value:.2f}"


def spread(estimate: Estimate, show: Callable[[float], str], end: float = math.inf) -> str:
    """``101 k [60.8 k, > 300 k]``: what is infinite lies beyond the ``end`` of the runs."""

    def text(value: float) -> str:
        return show(value) if math.isfinite(value) else f"> {show(end)}"

    if estimate.low == estimate.high == math.inf:
        return text(math.inf)
    return f"{text(estimate.value)} [{text(estimate.low)}, {text(estimate.high)}]"


def relative(ratio: Estimate, mine: float, other: float, my_end: float, other_end: float) -> str:
    """A ratio of medians, as a bound where one of them lies beyond the end of its runs.

    Args:
      ratio: the estimate.
      mine: median.
      other: the baseline's median.
      my_end: where my runs end.
      other_end: where the baseline's do.
    """
    if math.isnan(ratio.value):
        return "neither reached it"
    value = times(ratio.value)
    if mine > other == 0:
        value = "∞"
    elif math.isinf(mine):
        value = f"> {times(my_end / other)}"
    elif math.isinf(other):
        value = f"< {times(mine / other_end)}"
    if math.isinf(ratio.low):
        return value
    high = "∞" if math.isinf(ratio.high) else times(ratio.high)
    return f"{value} [{times(ratio.low)}, {high}]"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
