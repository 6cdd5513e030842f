"""The programs of most parts: a population that descends, and a random search like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl import streams
from pes_rl.estimators import ESTIMATORS
from pes_rl.particles.problem import (
    EACH,
    ParticleState,
    begin,
    in_turn,
    not_begun,
    reset_key,
    stream_of,
    unroll,
)
from pes_rl.problems import Problem
from pes_rl.problems.datasets import Dataset, Images, load
from pes_rl.reproductions.paper.part import Program, Row, Spread, column
from pes_rl.unrolled import LoopState, evolution, make_loop
from pes_rl.unrolled.method import layout

Array = jax.Array
_HELD_OUT = 10_000  # of the 60 000 images to train with, as in the authors' code
_JUDGE, _SIDE_BY_SIDE = 1_000_003, 32


def images(name: str) -> Dataset:
    """MNIST's or Fashion-MNIST's training images as the authors of PES use them, standardised.

    The first 50 000 are for training, the last 10 000 held out; the test images are not used.
    """
    data = load(name)
    pixels, labels = data.train
    kept = len(labels) - min(_HELD_OUT, len(labels) // 6)
    scaled = (pixels - pixels[:kept].mean()) / pixels[:kept].std()
    train, held = Images(scaled[:kept], labels[:kept]), Images(scaled[kept:], labels[kept:])
    return data._replace(train=train, held_out=held)


def population(
    problem: Callable[[Any], Problem],
    load: Callable[[], Any],
    theta: Callable[[Any], Array],
    optimizer: optax.GradientTransformation,
    *,
    style: str,
    pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int,
    staggered: bool = False,
) -> Callable[[Spread], Program]:
    """Make a program that minimises a problem by evolution.

    Args:
      problem: of the data.
      load: gives the data, a tree of arrays.
      theta: ``(key) -> start [P]``.
      optimizer: takes the gradients.
      style: name of an estimator.
      pairs: N.
      perturb_std: sigma.
      segment_length: K.
      horizon: T.
      staggered: spread the pairs' clocks over the horizon; lock-step otherwise.
    """
    steps = {} if style == "es" else {"segment_length": segment_length, "staggered": staggered}
    estimator = ESTIMATORS[style](pairs, perturb_std, horizon=horizon, **steps)

    def make(spread: Spread) -> Program:
        def loop(data: Any):
            return make_loop(evolution(problem(data), estimator, *spread), optimizer)

        def init(data: Any, key: Any) -> LoopState:
            theta_key, loop_key = jax.random.split(key)
            return loop(data).init(loop_key, theta(theta_key))

        def update(data: Any, state: LoopState):
            state, metrics = loop(data).update(state)
            return state, metrics._asdict()

        def look(data: Any, state: LoopState):
            del data
            return state, {"theta": state.theta}

        flags: Any = LoopState._make((False, False, layout()))
        return Program(load(), init, update, look, flags)

    return make


class Search(NamedTuple):
    """A random search on M points at a time, which train side by side.

    Attributes:
      particles: one a point.
      theta: [M, P], the points.
      total: [M], losses of the present trainings so far.
      clock: int32, inner steps made of them.
      best: the least mean loss of a whole training so far, as it was seen.
      point: [P], where it was.
    """

    particles: ParticleState
    theta: Array
    total: Array
    clock: Array
    best: Array
    point: Array


def random_search(
    problem: Callable[[Any], Problem],
    load: Callable[[], Any],
    low: Any,
    high: Any,
    *,
    points: int,
    segment_length: int,
    horizon: int,
) -> Callable[[Spread], Program]:
    """Make a program that trains at points drawn uniformly and keeps the best of all.

    An update makes ``segment_length`` inner steps of ``points`` whole trainings, so that as many
    updates as a population makes are as many inner steps. T has to be a multiple of K.

    Args:
      problem: of the data.
      load: gives the data.
      low: [P], where the box begins.
      high: [P], where it ends.
      points: M, trained side by side.
      segment_length: K.
      horizon: T.
    """
    ends = np.asarray(low, np.float32), np.asarray(high, np.float32)
    limit: Any = np.int32(segment_length)

    def make(spread: Spread) -> Program:
        gather = spread.placement.gather

        def init(data: Any, key: Any) -> Search:
            start = jnp.asarray(ends[0])
            zeros = jnp.zeros((points, *start.shape), start.dtype)
            carry = problem(data).init(key, start)
            worst = jnp.full((), jnp.inf, start.dtype)
            total = jnp.zeros(points, start.dtype)
            particles = not_begun(key, carry, (points,))
            return Search(particles, zeros, total, jnp.int32(0), worst, start)

        def update(data: Any, state: Search):
            own, fresh = problem(data), state.clock == 0

            def start(particle: ParticleState, theta: Array) -> ParticleState:
                return begin(own, reset_key(particle), theta, jnp.bool_(True), particle)

            def train(particle: ParticleState, theta: Array):
                return unroll(own, segment_length, theta, limit, particle)

            def some(theta: Array, particles: ParticleState):
                begun = jax.lax.cond(
                    fresh,
                    lambda: jax.vmap(start, (EACH, 0), EACH)(particles, theta),
                    lambda: particles,
                )
                return jax.vmap(train, (EACH, 0), (0, EACH))(begun, theta)

            old = state.particles
            theta = jnp.where(fresh, _points(old, *ends), state.theta)
            segment, particles = in_turn(some, spread.chunk, theta, old)
            total = jnp.where(fresh, 0, state.total) + segment.loss
            total = jnp.where(segment.invalid, jnp.inf, total)
            clock = (state.clock + segment_length) % horizon
            means, thetas = gather(total) / horizon, gather(theta)
            best, point = _least(state, clock == 0, means, thetas)
            sums = {"loss": gather(segment.loss).sum(), "steps": gather(segment.steps).sum()}
            return Search(particles, theta, total, clock, best, point), sums

        def look(data: Any, state: Search):
            del data
            return state, {"theta": state.point, "best": state.best}

        particle: Any = ParticleState._make((False, *[True] * 5))
        flags: Any = Search._make((particle, True, True, False, False, False))
        return Program(load(), init, update, look, flags)

    return make


def _points(particles: ParticleState, low: np.ndarray, high: np.ndarray) -> Array:
    """The points [M, P] of the next trainings, uniform between two corners of a box."""

    def draw(pair: Array, episode: Array) -> Array:
        key = jax.random.fold_in(stream_of(particles.key, streams.NOISE, pair), episode)
        return jax.random.uniform(key, low.shape, minval=low, maxval=high)

    return jax.vmap(draw)(particles.pair, particles.episodes)


def _least(state: Search, over: Array, losses: Array, thetas: Array) -> tuple[Array, Array]:
    """The best mean loss and its point, of those before and, once trainings are over, of all M."""
    first = losses.argmin()
    better = over & (losses[first] < state.best)
    best = jnp.where(better, losses[first], state.best)
    return best, jnp.where(better, thetas[first], state.point)


def judged(
    problem: Callable[[Any], Problem], load: Callable[[], Any], horizon: int, runs: int
) -> Callable[[list[Row]], dict[str, Any]]:
    """Make a judge: ``runs`` fresh trainings at the end of every seed, the same for all methods.

    It gives ``end`` [S, P], the mean of the last tenth of the rows (of a random search the best
    point), and ``loss`` [S], per inner step.
    """

    def judge(rows: list[Row]) -> dict[str, Any]:
        theta = column(rows, "theta")
        last = 1 if "best" in rows[0] else max(1, theta.shape[1] // 10)
        end = theta[:, -last:].mean(axis=1)
        keys = jax.random.split(jax.random.key(_JUDGE), runs)
        thetas = jnp.repeat(jnp.asarray(end, jnp.float32), runs, axis=0)
        every = jnp.tile(keys, len(end))

        def train(data: Any, theta: Array, key: Array) -> Array:
            own = problem(data)
            start_key, step_key = jax.random.split(key)

            def advance(carry: Any, t: Array):
                carry, out = own.step(jax.random.fold_in(step_key, t), theta, carry)
                return carry, out.loss

            return jax.lax.scan(advance, own.init(start_key, theta), jnp.arange(horizon))[1].mean()

        def all_of(data: Any, thetas: Array, keys: Array) -> Array:
            one = (thetas, keys)
            return jax.lax.map(lambda x: train(data, *x), one, batch_size=_SIDE_BY_SIDE)

        losses = jax.jit(all_of)(load(), thetas, every)
        return {"end": end, "loss": np.asarray(losses).reshape(-1, runs).mean(axis=1)}

    return judge
