"""What the two recurrent experiments share: methods by name, trainings side by side, their tuning.

A lane is one training. The lanes of a method differ in numbers only (seed, learning rate, sigma):
one compiled program serves the search and the reported seeds alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.estimators import es_single, pes, truncated_es
from pes_rl.estimators.core import ALL_HERE
from pes_rl.problems import Problem
from pes_rl.reproductions.experiment import Report
from pes_rl.reproductions.paper.part import Spread
from pes_rl.unrolled import Loop, Method, evolution, make_loop, truncated_bptt

POPULATIONS = {"es-single": es_single, "pes": pes, "truncated-es": truncated_es}
RATES = (1e-2, 3e-2, 1e-1)  # Adam's, searched for every method, side by side
SIGMAS = (0.03, 0.1, 0.3)  # searched for every population
UNSEARCHED = 3e-2, 0.1  # rate and sigma of all methods in the quick variants, which do not search
TOGETHER = Spread(ALL_HERE, None)
SEARCH, REPORTED = 1000, (0, 1, 2)  # seeds
# Drawing the start is much code that runs once: compiling it with care would take longest of all.
_UNOPTIMISED = {"xla_backend_optimization_level": 0}


class Lane(NamedTuple):
    """The numbers of one training: seed, Adam's learning rate, sigma of a population."""

    seed: Any
    rate: Any
    sigma: Any


class Scheme(NamedTuple):
    """How a method of some style unrolls: particles, K and T."""

    style: str
    particles: int
    segment_length: int
    horizon: int

    def loop(self, problem: Problem, lane: Lane, spread: Spread = TOGETHER) -> Loop:
        """The update of one lane, which may be traced."""
        return make_loop(self._method(problem, lane.sigma, spread), optax.adam(lane.rate))

    def _method(self, problem: Problem, sigma: Any, spread: Spread) -> Method:
        style, M, K, T = self
        if style in POPULATIONS:
            return evolution(problem, POPULATIONS[style](M // 2, sigma, K, T), *spread)
        return truncated_bptt(problem, K, T, num_particles=M)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """What there is to search besides the rate; backpropagation has no sigma."""
        return SIGMAS if self.style in POPULATIONS else (0.0,)


class Course(NamedTuple):
    """What is learnt, and how it is judged along the way.

    A lesson is a tree of arrays that a look may change: where a curriculum stands.

    Attributes:
      problem: ``(lesson) -> Problem``, with ``initial_theta``.
      lesson: ``(key) -> lesson``, the first one.
      look: ``(theta [lanes, P], lesson [lanes, ...]) -> (lesson, seen)``; not part of the compiled
        update, so that it is compiled once for all methods.
    """

    problem: Callable[[Any], Any]
    lesson: Callable[[Any], Any]
    look: Callable[[jax.Array, Any], tuple[Any, Any]]


class State(NamedTuple):
    """Of one lane: the loop's state, the lesson, steps unrolled and invalid particles so far."""

    loop: Any
    lesson: Any
    steps: jax.Array
    invalid: jax.Array


class Rows(NamedTuple):
    """At every look, [lanes, rows]: steps unrolled, invalid particles so far, what was seen."""

    steps: Any
    invalid: Any
    seen: Any


def program(
    course: Course, scheme: Scheme
) -> Callable[[Sequence[Lane], int, int], tuple[State, Rows]]:
    """Compile a training for lanes side by side.

    Returns:
      ``(lanes, updates between looks, budget) -> (state, rows)``: trains until every lane has
      unrolled ``budget`` steps.
    """

    def begin(lane: Lane) -> State:
        theta_key, loop_key, lesson_key = jax.random.split(jax.random.key(lane.seed), 3)
        lesson = course.lesson(lesson_key)
        problem, zero = course.problem(lesson), jnp.zeros((), jnp.int32)
        loop = scheme.loop(problem, lane).init(loop_key, problem.initial_theta(theta_key))
        return State(loop, lesson, zero, zero)

    def advance(lane: Lane, state: State, updates: Any) -> State:
        update = scheme.loop(course.problem(state.lesson), lane).update

        def body(_, carry):
            loop, steps, invalid = carry
            loop, metrics = update(loop)
            return loop, steps + metrics.steps, invalid + metrics.invalid

        start = state.loop, state.steps, state.invalid
        loop, steps, invalid = jax.lax.fori_loop(0, updates, body, start)
        return State(loop, state.lesson, steps, invalid)

    start = jax.jit(jax.vmap(begin), compiler_options=_UNOPTIMISED)
    onward = jax.jit(jax.vmap(advance, (0, 0, None)), donate_argnums=1)

    def run(lanes: Sequence[Lane], updates: int, budget: int):
        batch = Lane(*(jnp.asarray(each) for each in zip(*lanes, strict=True)))
        state, rows = start(batch), []
        while not rows or rows[-1].steps.min() < budget:
            state = onward(batch, state, jnp.int32(updates))
            lesson, seen = course.look(state.loop.theta, state.lesson)
            state = state._replace(lesson=lesson)
            rows.append(jax.tree.map(np.asarray, Rows(state.steps, state.invalid, seen)))
        return state, jax.tree.map(lambda *each: np.stack(each, axis=1), *rows)

    return run


class Tried(NamedTuple):
    """One point of a search and what came of it; less is better."""

    rate: float
    sigma: float
    score: float


def tune(run: Callable, scheme: Scheme, score: Callable, updates: int, budget: int) -> list[Tried]:
    """Train once at every point of the grid, on a seed of its own; the best point comes first.

    Args:
      run: a `program`.
      scheme: the method.
      score: ``(rows) -> [lanes]``; less is better, what is no number is worst.
      updates: between rows.
      budget: steps of every training.
    """
    tried = []
    for sigma in scheme.sigmas:
        lanes = [Lane(SEARCH, rate, sigma) for rate in RATES]
        scores = np.nan_to_num(score(run(lanes, updates, budget)[1]), nan=np.inf)
        tried += [Tried(r, sigma, float(s)) for r, s in zip(RATES, scores, strict=True)]
    return sorted(tried, key=lambda one: one.score)


def choose(
    run: Callable, scheme: Scheme, score: Callable, updates: int, budget: int | None, report: Report
) -> tuple[float, float, list[Tried]]:
    """Rate and sigma, and the search behind them; the quick variants have no budget for one."""
    if budget is None:
        return *UNSEARCHED, []
    found = tune(run, scheme, score, updates, budget)
    rate, sigma, _ = found[0]
    report.note(f"{scheme.style}: rate {rate}, sigma {sigma}")
    return rate, sigma, found


def reported(rate: float, sigma: float, seeds: int) -> list[Lane]:
    """The lanes that are shown."""
    return [Lane(seed, rate, sigma) for seed in REPORTED[:seeds]]
