"""What the two hyperparameter experiments share: methods and random search at equal inner steps.

An inner step is one step of one particle. Every method of a task spends the same number of them;
random search spends them on whole trainings at random points and keeps the best one as it saw it.
Whatever a method ends with is judged by fresh trainings, the same ones for all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.problems import Problem
from pes_rl.problems.telescoping import Telescoping
from pes_rl.unrolled import Method, evolution, minimize

_ONLINE = {"truncated-es": truncated_es, "pes": pes, "es-single": es_single}
_JUDGE, _SEARCH = 1_000_003, 2_000_003  # seeds of the judging and of the random searches
_CHUNK = 32  # trainings side by side


@dataclass(frozen=True)
class Task:
    """One problem, and how its hyperparameters are searched.

    Attributes:
      problem: what is unrolled.
      horizon: T.
      segment_length: K.
      pairs: N.
      perturb_std: sigma.
      rate: Adam's learning rate.
      updates: of the online methods; they set the budget.
      start: theta [P].
      low: where random search begins [P].
      high: where it ends [P].
    """

    problem: Any
    horizon: int
    segment_length: int
    pairs: int
    perturb_std: float
    rate: float
    updates: int
    start: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def budget(self) -> int:
        """Inner steps per seed."""
        return 2 * self.pairs * self.segment_length * self.updates

    def method(self, style: str) -> Method:
        """An online method by its name."""
        make = _ONLINE[style]
        estimator = make(self.pairs, self.perturb_std, self.segment_length, self.horizon)
        return evolution(self.problem, estimator)


class Track(NamedTuple):
    """Where one method went.

    Attributes:
      style: its name.
      theta: [S, R, P] at R moments, for S seeds.
      end: [S, P], the mean of the last tenth of the moments; random search's best points.
      loss: [S], of fresh trainings with ``end``: see `trainings`.
    """

    style: str
    theta: np.ndarray
    end: np.ndarray
    loss: np.ndarray


@cache
def trainings(problem: Problem, horizon: int) -> Callable[[np.ndarray, Sequence[int]], np.ndarray]:
    """``(thetas [G, P], seeds [E]) -> [G, E]``: mean loss per inner step of whole trainings.

    Of a telescoping problem it is the final loss.
    """
    share = 1 if isinstance(problem, Telescoping) else horizon

    def one(theta: jax.Array, key: jax.Array) -> jax.Array:
        start_key, step_key = jax.random.split(key)

        def advance(carry, t):
            carry, out = problem.step(jax.random.fold_in(step_key, t), theta, carry)
            return carry, out.loss

        losses = jax.lax.scan(advance, problem.init(start_key, theta), jnp.arange(horizon))[1]
        return losses.sum() / share

    chunk = jax.jit(jax.vmap(one))

    def run(thetas: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        which = np.arange(len(thetas) * len(seeds))
        losses = []
        for start in range(0, len(which), _CHUNK):
            # Always equally many, so that one compilation serves; the surplus repeats the last.
            some = np.pad(which[start : start + _CHUNK], (0, _CHUNK), "edge")[:_CHUNK]
            pairs = jnp.asarray(thetas[some // len(seeds)], jnp.float32), keys[some % len(seeds)]
            losses.append(np.asarray(chunk(*pairs), float))
        return np.concatenate(losses)[: len(which)].reshape(len(thetas), len(seeds))

    return run


def random_search(task: Task, seeds: Sequence[int]) -> np.ndarray:
    """The best points [S, P] of as many random ones as the budget trains, each trained once."""
    run, points = trainings(task.problem, task.horizon), task.budget // task.horizon
    best = []
    for seed in seeds:
        rng = np.random.default_rng(_SEARCH + seed)
        thetas = rng.uniform(task.low, task.high, (points, len(task.low)))
        losses = run(thetas, [_SEARCH + seed])[:, 0]
        best.append(thetas[losses.argmin()])
    return np.stack(best)


def search(task: Task, style: str, seeds: Sequence[int], judges: int) -> Track:
    """Let one method search, then judge where it ends by ``judges`` fresh trainings.

    Args:
      task: the problem and the budget.
      style: a name of `figures.STYLES`.
      seeds: S numbers.
      judges: fresh trainings per seed, the same for all methods.
    """
    if style == "random-search":
        end = random_search(task, seeds)
        theta = end[:, None]
    else:
        method, optimizer = task.method(style), optax.adam(task.rate)
        theta = minimize(method, optimizer, task.start, seeds, task.updates, records=100).theta
        end = theta[:, -max(1, theta.shape[1] // 10) :].mean(axis=1)
    loss = trainings(task.problem, task.horizon)(end, range(_JUDGE, _JUDGE + judges)).mean(axis=1)
    return Track(style, theta, end, loss)


def spread(values: np.ndarray) -> str:
    """Median and range over seeds."""
    return f"{np.median(values):.3f} ({values.min():.3f} to {values.max():.3f})"


def ratio(track: Track, baseline: Track) -> float:
    """Median loss over the baseline's."""
    return float(np.median(track.loss) / np.median(baseline.loss))


def plain_logarithmic(axis: Axes) -> None:
    """A logarithmic x-axis of less than a decade or two, with few plain numbers."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 9.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
