"""Unroll a JAX problem that is written for one particle, for one particle and for N pairs of them.

The problem is `pes_rl.problems.Problem`. An episode begins and is cut at segment boundaries only: a
particle that terminates is absorbing, which means that it adds no loss until it is restarted. A
non-finite loss marks the particle invalid and ends it.

`begin` and `unroll` say this for one particle. `lift` maps them over antithetic pairs, and the
methods of `pes_rl.unrolled` differentiate them: these need the carry of a particle that has ended
to stand still. In a population it may as well go on, since nobody looks at it before the restart,
and holding still a network in training would cost as much as stepping its optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.estimators.core import Perturbation, Segment, members
from pes_rl.problems.protocol import Carry, Problem, Step, check_problem

__all__ = ["ParticleState", "Problem", "Runner", "Step", "lift", "stream_keys"]

Array = jax.Array


class ParticleState(NamedTuple):
    """What lasts from one segment to the next, of one particle, of N, or of N pairs.

    Attributes:
      key: key data of all random streams; it has no leading axis.
      pair: int32 [N], numbers that random numbers are keyed by, shared by the members of a pair.
      carry: the problem's, leaves [N, ...] or [N, 2, ...].
      ended: bool [N] or [N, 2], whether the particle has terminated in its present episode.
      episodes: int32 [N], episodes begun so far.
      steps: int32 [N], steps made so far, those of ended particles included.
    """

    key: Array
    pair: Array
    carry: Carry
    ended: Array
    episodes: Array
    steps: Array


# The axes that `jax.vmap` maps: that of N particles or pairs, and that of a pair's two members.
EACH: Any = ParticleState._make((None, 0, 0, 0, 0, 0))
_MEMBERS: Any = ParticleState._make((None, None, 0, 0, None, None))


class Runner(NamedTuple):
    """Two pure functions of a population of N pairs.

    Attributes:
      init: ``(key, theta) -> state``, of pairs that have yet to be restarted.
      unroll: ``(theta, plan, state) -> (segment, state)``.
    """

    init: Callable[[Any, Array], ParticleState]
    unroll: Callable[[Array, Perturbation, ParticleState], tuple[Segment, ParticleState]]


def stream_of(key: Array, stream: int, pair: Array) -> Array:
    """The key of one of `pes_rl.streams` for one pair, still to be folded with a counter.

    It follows from the pair's number, so placement does not matter.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), stream), pair)


def stream_keys(key: Array, stream: int, counter: Array, pair: Array | None = None) -> Array:
    """Keys [N] of one stream for the pairs numbered ``pair`` [N] at their counters [N].

    The pairs' numbers are 0, 1, 2, ... where they are not given.
    """
    if pair is None:
        pair = jnp.arange(counter.size, dtype=jnp.int32)
    one = jax.vmap(lambda i, c: jax.random.fold_in(stream_of(key, stream, i), c))
    return one(pair, counter)


def reset_key(particle: ParticleState) -> Array:
    """The key of one particle's next start state."""
    key = stream_of(particle.key, streams.RESET, particle.pair)
    return jax.random.fold_in(key, particle.episodes)


def not_begun(key: Any, carry: Carry, shape: tuple[int, ...]) -> ParticleState:
    """Particles [N] or [N, 2] that have yet to begin an episode, given any one particle's carry."""
    zeros = jnp.zeros(shape[0], jnp.int32)
    return ParticleState(
        key=jax.random.key_data(key),
        pair=jnp.arange(shape[0], dtype=jnp.int32),
        carry=jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *jnp.shape(x))), carry),
        ended=jnp.zeros(shape, bool),
        episodes=zeros,
        steps=zeros,
    )


def begin(
    problem: Problem, key: Any, theta: Array, restart: Array, particle: ParticleState
) -> ParticleState:
    """One particle in a new episode where ``restart`` (bool) asks for it, as it was elsewhere."""

    def either(new: Array, old: Array) -> Array:
        return jnp.where(restart, new, old)

    return particle._replace(
        carry=jax.tree.map(either, problem.init(key, theta), particle.carry),
        ended=particle.ended & ~restart,
        episodes=particle.episodes + restart.astype(jnp.int32),
    )


def unroll(
    problem: Problem,
    segment_length: int,
    theta: Array,
    step_limit: Array,
    particle: ParticleState,
    drawn: Any = streams.ENVIRONMENT,
    hold: bool = True,
) -> tuple[Segment, ParticleState]:
    """Make up to K steps of one particle; after the end of its episode nothing counts any more.

    Args:
      problem: steps the particle.
      segment_length: K.
      theta: [P], what it runs with.
      step_limit: int32, steps after which the segment is cut, at most K.
      particle: at its start.
      drawn: the stream that the key of a step is from, or a tree of streams for a tree of keys.
      hold: whether the carry stands still after the end; else it goes on, of no account.

    Returns:
      The segment, each of its fields a scalar, and the particle after it.
    """
    own = jax.tree.map(lambda stream: stream_of(particle.key, stream, particle.pair), drawn)

    def one_step(loop: tuple[Carry, Segment], j: Array):
        carry, sofar = loop
        live = ~sofar.ended & (j < step_limit)
        key = jax.tree.map(lambda base: jax.random.fold_in(base, particle.steps + j), own)
        after, out = problem.step(key, theta, carry)
        bad = live & ~jnp.isfinite(out.loss)
        sofar = Segment(
            loss=sofar.loss + jnp.where(live & ~bad, out.loss, 0),
            steps=sofar.steps + live.astype(jnp.int32),
            ended=sofar.ended | (live & out.done) | bad,
            invalid=sofar.invalid | bad,
        )
        if hold:
            after = jax.tree.map(lambda new, old: jnp.where(live, new, old), after, carry)
        return (after, sofar), None

    zero, no = jnp.zeros((), theta.dtype), jnp.zeros((), bool)
    loop = particle.carry, Segment(zero, jnp.zeros((), jnp.int32), particle.ended, no)
    j = jnp.arange(segment_length, dtype=jnp.int32)
    (carry, segment), _ = jax.lax.scan(one_step, loop, j)
    steps = particle.steps + segment_length
    return segment, particle._replace(carry=carry, ended=segment.ended, steps=steps)


def lift(
    problem: Problem,
    num_pairs: int,
    segment_length: int,
    perturb_std: float,
    chunk: int | None = None,
) -> Runner:
    """Vectorise a problem over N antithetic pairs.

    Both members of a pair get the same keys: common random numbers. With ``chunk``, a divisor of
    N, so many pairs are unrolled at a time: what a step needs in between is there for these alone.
    """

    def begin_one(theta: Array, restart: Array, particle: ParticleState) -> ParticleState:
        return begin(problem, reset_key(particle), theta, restart, particle)

    def unroll_one(theta: Array, step_limit: Array, particle: ParticleState):
        return unroll(problem, segment_length, theta, step_limit, particle, hold=False)

    begin_pair = jax.vmap(begin_one, (0, None, _MEMBERS), _MEMBERS)
    unroll_pair = jax.vmap(unroll_one, (0, None, _MEMBERS), (0, _MEMBERS))
    begin_all = jax.vmap(begin_pair, (0, 0, EACH), EACH)
    unroll_all = jax.vmap(unroll_pair, (0, 0, EACH), (0, EACH))

    def init(key: Any, theta: Array) -> ParticleState:
        check_problem(problem, theta)
        return not_begun(key, problem.init(key, theta), (num_pairs, 2))

    def unroll_segment(theta: Array, plan: Perturbation, state: ParticleState):
        def some(plan: Perturbation, state: ParticleState):
            particles = members(theta, plan.noise, perturb_std)
            # Starting an episode can cost as much as many steps (a network's weights are drawn),
            # and in lock-step most segments start none.
            state = jax.lax.cond(
                plan.restart.any(),
                lambda: begin_all(particles, plan.restart, state),
                lambda: state,
            )
            return unroll_all(particles, plan.step_limit, state)

        return in_turn(some, chunk, plan, state)

    return Runner(init, unroll_segment)


def in_turn(
    unroll: Callable[[Any, ParticleState], tuple[Any, ParticleState]],
    chunk: int | None,
    plan: Any,
    state: ParticleState,
) -> tuple[Any, ParticleState]:
    """``unroll(plan, state)``, a chunk of the N after the other, each put back where it was."""
    whole = state.pair.size
    if chunk is None or chunk >= whole:
        return unroll(plan, state)
    inner = state._replace(key=None)

    def part(tree: Any, i: Any) -> Any:
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * chunk, chunk), tree)

    def some(i: Any, inner: Any):
        out, after = unroll(part(plan, i), part(inner, i)._replace(key=state.key))
        return out, after._replace(key=None)

    def put(new: Array, old: Array, i: Any) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, i * chunk, 0)

    def each(i: Array, loop: Any):
        return jax.tree.map(lambda new, old: put(new, old, i), some(i, loop[1]), loop)

    shapes = jax.eval_shape(lambda: some(0, inner)[0])
    blank = jax.tree.map(lambda x: jnp.zeros((whole, *x.shape[1:]), x.dtype), shapes)
    out, inner = jax.lax.fori_loop(0, whole // chunk, each, (blank, inner))
    return out, inner._replace(key=state.key)
