"""What the two hyperparameter experiments share at the papers' size: methods on one objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from pes_rl.problems.hyperparameters import Tuning
from pes_rl.reproductions.figures import curve
from pes_rl.reproductions.paper.part import Outcome, Part
from pes_rl.reproductions.paper.programs import images, judged, population, random_search
from pes_rl.styles import STYLES

METHODS = ("truncated-es", "pes", "es-single", "random-search")


@dataclass(frozen=True)
class Contest:
    """One objective, and what every method that searches for it is given.

    Attributes:
      name: begins the names of its parts.
      title: of its figure.
      data: name of the images.
      tuning: ``(train, held out) -> Tuning``.
      sizes: units of all layers, for the cost.
      start: ``(key) -> theta [P]``.
      low: where random search begins [P].
      high: where it ends [P].
      particles: of a population; as many points are trained side by side.
      perturb_std: sigma.
      rate: Adam's.
      horizon: T.
      segment_length: K.
      updates: of every method.
      seeds: numbers.
      runs: fresh trainings that judge where a seed ends.
    """

    name: str
    title: str
    data: str
    tuning: Callable[[Any, Any], Tuning]
    sizes: tuple[int, ...]
    start: Callable[[Any], Any]
    low: tuple[float, ...]
    high: tuple[float, ...]
    particles: int
    perturb_std: float
    rate: float
    horizon: int
    segment_length: int
    updates: int
    seeds: tuple[int, ...]
    runs: int = 8

    def part(self, style: str) -> Part:
        """One method."""
        problem = self._problem
        unrolled: Any = {"segment_length": self.segment_length, "horizon": self.horizon}
        if style == "random-search":
            make = random_search(
                problem, self._load, self.low, self.high, points=self.particles, **unrolled
            )
        else:
            make = population(
                problem,
                self._load,
                self.start,
                optax.adam(self.rate),
                style=style,
                pairs=self.particles // 2,
                perturb_std=self.perturb_std,
                **unrolled,
            )
        blank = np.zeros((1, self.sizes[0]), np.float32), np.zeros(1, np.int32)
        tuning = problem((blank, blank))
        weights = sum(n * m for n, m in zip(self.sizes, self.sizes[1:], strict=False))
        judging = 0 if tuning.objective == "training-loss" else 2 * tuning.judged
        return Part(
            name=f"{self.name}-{style}",
            updates=self.updates,
            seeds=self.seeds,
            pairs=self.particles if style == "random-search" else self.particles // 2,
            steps=self.particles * self.segment_length,
            flops=weights * (6.0 * tuning.batch + judging),
            make=make,
            judge=judged(problem, self._load, self.horizon, self.runs),
            settings=self._settings(style, tuning),
        )

    def _problem(self, data: Any) -> Tuning:
        return self.tuning(*data)

    def _load(self) -> Any:
        return _images(self.data)

    def _settings(self, style: str, tuning: Tuning) -> dict[str, Any]:
        searched: dict[str, Any] = {"low": self.low, "high": self.high}
        descended = {"perturb_std": self.perturb_std, "learning_rate": self.rate}
        return {
            "data": self.data,
            "network": self.sizes,
            "objective": tuning.objective,
            "batch": tuning.batch,
            "judged": tuning.judged,
            "particles": self.particles,
            "segment_length": self.segment_length,
            "horizon": self.horizon,
            "updates": self.updates,
            "seeds": self.seeds,
            **(searched if style == "random-search" else descended),
        }

    def draw(self, axis: Axes, outcomes: dict[str, Outcome]) -> None:
        """Loss per inner step of what each method runs, over inner steps; random search's best."""
        for style in METHODS:
            found = outcomes[f"{self.name}-{style}"]
            if not found.rows:
                continue
            if style == "random-search":
                loss = found.column("best")
            else:
                loss = found.column("loss") / found.column("steps")
            label = STYLES[style].label
            if not found.complete:
                label += f" ({int(found.updates[-1])} of {self.updates})"
            x = found.updates * self.particles * self.segment_length / 1e6
            curve(axis, x, np.where(np.isfinite(loss), loss, np.nan), STYLES[style], label)
        axis.set(title=self.title, xlabel="million inner steps", ylabel="loss per inner step")
        if axis.lines:
            axis.legend()


@cache
def _images(name: str) -> Any:
    """Training and held-out images: read once for all parts."""
    data = images(name)
    return data.train, data.held_out


def verdict(
    ours: Outcome, theirs: Outcome, rule: Callable[[np.ndarray, np.ndarray], Any]
) -> tuple[str, Any]:
    """What was measured of two parts, and whether ``rule`` holds; None where one is not complete.

    The rule is given the losses [S] where the seeds of both end.
    """
    if ours.result is None or theirs.result is None:
        return "; ".join(one.progress for one in (ours, theirs) if one.result is None), None
    a, b = np.array(ours.result["loss"]), np.array(theirs.result["loss"])
    text = f"{spread(a)} against {spread(b)}"
    return text, bool(rule(a, b))


def spread(values: np.ndarray) -> str:
    """Median and range over seeds."""
    return f"{np.median(values):.4f} ({values.min():.4f} to {values.max():.4f})"


def fixed(theta: tuple[float, ...]) -> Callable[[Any], Any]:
    """Every seed starts here."""
    return lambda key: jnp.asarray(theta, jnp.float32)
