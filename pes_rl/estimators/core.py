"""The core shared by every estimator: antithetic pairs, their clocks, and the gradient.

An estimator makes two decisions: when a pair draws new noise, and what multiplies the segment's
loss. Both are in `NoiseRule`; the rest, here, is the same for all of them.

Notation (Vicol, Metz and Sohl-Dickstein 2021, section 3, with N counting antithetic *pairs*):
theta [P] are the parameters, sigma is ``perturb_std``, eps_i [P] is pair i's standard normal noise
and its members run with theta + sigma eps_i and theta - sigma eps_i. L_i+ and L_i- are the two
members' losses over one segment, summed over the steps they lived. A segment contributes

    g = 1 / (2 sigma N) * sum_i w_i (L_i+ - L_i-)

to the gradient of the smoothed loss; contributions of one pair, summed over its whole episode at
fixed theta, are unbiased for every rule but truncated ES. N counts idle pairs too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from pes_rl import streams
from pes_rl.estimators import clocks
from pes_rl.estimators.clocks import Clocks
from pes_rl.estimators.shaping import RunningScale, Shaping

Array = jax.Array
HostArray = Any  # a jax.Array, or np.ndarray from an engine on the host
_LONG_DRAW = 1000  # parameters
_DRAWN_AT_ONCE = 2**24  # numbers


class NoiseRule(NamedTuple):
    """What distinguishes one estimator from another.

    Attributes:
      period: env steps for which one draw is held, counted on the pair's own clock; None holds it
        for the whole episode.
      accumulate: whether the segment's loss is multiplied by the sum of all noise drawn since the
        episode began (True) or by the noise in force (False).
      decay: what noise that is no longer in force is multiplied by in that sum at every segment; 1
        keeps it for the whole episode.
    """

    period: int | None
    accumulate: bool
    decay: float = 1.0


class EstimatorState(NamedTuple):
    """Everything an estimator carries from one segment to the next, for N pairs.

    Attributes:
      key: key data of the noise stream; it never changes.
      pair: int32 [N], the pairs' numbers; draws are keyed by them, wherever a pair is placed.
      noise: [N, P] noise in force.
      accumulator: [N, P] sum of the noise drawn in this episode, decayed as the rule says;
        [N, 0] where the rule needs none.
      draws: int32 [N], noise draws made so far; never restarts.
      clock: int32 [N], env steps since the pair's episode began; 0 asks for a restart.
      limit: int32 [N], clock at which the present episode is truncated.
      scale: running scale of segment losses, used by ``running-std`` shaping.
    """

    key: Array
    pair: Array
    noise: Array
    accumulator: Array
    draws: Array
    clock: Array
    limit: Array
    scale: RunningScale


class Perturbation(NamedTuple):
    """What a runner needs for one segment: noise [N, P], restart bool [N], step_limit int32 [N]."""

    noise: Array
    restart: Array
    step_limit: Array


class Segment(NamedTuple):
    """What a runner reports of one segment, all [N, 2], the second axis being the sign (+, -).

    Attributes:
      loss: sum of the losses of the steps the member lived in this segment.
      steps: env steps the member lived in this segment; 0 for one that had ended before.
      ended: whether the member has terminated, in this segment or earlier in its episode.
      invalid: whether its simulation became unstable in this segment.
    """

    loss: HostArray
    steps: HostArray
    ended: HostArray
    invalid: HostArray


class Info(NamedTuple):
    """Diagnostics of one update: invalid members, and whether shaping zeroed the update."""

    invalid_particles: Array
    zero_update: Array


class Placement(NamedTuple):
    """Where the pairs of a population are, for sums over all N of them from the n that are here.

    Attributes:
      gather: ``[n, ...] -> [N, ...]``, the values of all pairs in the order of their numbers.
      here: ``[N, ...] -> [n, ...]``, back to those of the pairs that are here.
      weighted_sum: ``(delta [n], weight [n, P]) -> [P]``, the sum over all N pairs.
    """

    gather: Callable[[Array], Array]
    here: Callable[[Array], Array]
    weighted_sum: Callable[[Array, Array], Array]


def _itself(values: Array) -> Array:
    return values


ALL_HERE = Placement(
    _itself, _itself, lambda delta, weight: jnp.matmul(delta, weight, precision="highest")
)


class Perturb(Protocol):
    """How an estimator chooses the noise of the next segment."""

    def __call__(
        self, state: EstimatorState, scale: Array | float = 1.0
    ) -> tuple[Perturbation, EstimatorState]:
        """What the population is to run, and the state with what was drawn for it.

        ``scale`` multiplies the noise that is drawn now: sigma becomes scale * sigma. The noise
        weighs the losses as it is, so the gradient comes out scale^2 times as long: up to the
        constant sigma^2 it is the natural gradient (Wierstra et al. 2014).
        """
        ...


class Gradient(Protocol):
    """How an estimator turns a segment into a gradient."""

    def __call__(
        self, state: EstimatorState, segment: Segment, placement: Placement = ALL_HERE
    ) -> tuple[Array, EstimatorState, Info]:
        """The gradient [P], the state with its clocks advanced, and diagnostics."""
        ...


class Estimator(NamedTuple):
    """A triple of pure functions.

    Attributes:
      init: ``(key, theta) -> state``; theta gives the length and the dtype of the noise.
      perturb: ``(state, scale) -> (Perturbation, state)``; draws noise where a pair's clock says
        so.
      gradient: ``(state, segment, placement) -> (gradient [P], state, Info)``; advances the
        clocks. Without a placement all pairs are here.
      segment_length: K, env steps per segment.
      perturb_std: sigma.
    """

    init: Callable[[Any, Array], EstimatorState]
    perturb: Perturb
    gradient: Gradient
    segment_length: int
    perturb_std: float


def members(theta: Array, noise: Array, perturb_std: float) -> Array:
    """Parameters [N, 2, P] of both members: theta + sigma eps and theta - sigma eps."""
    step = jnp.asarray(perturb_std, noise.dtype) * noise
    return jnp.stack([theta + step, theta - step], axis=1)


def make_estimator(
    rule: NoiseRule,
    num_pairs: int,
    perturb_std: float,
    segment_length: int,
    horizon: int | None,
    shaping: Shaping,
    staggered: bool,
) -> Estimator:
    """Assemble an estimator from its rule.

    Args:
      rule: when noise is drawn and what multiplies the loss.
      num_pairs: N, antithetic pairs (2N particles).
      perturb_std: sigma, standard deviation of the perturbations.
      segment_length: K, env steps per segment.
      horizon: T, env steps after which an episode is truncated; None for an endless problem.
      shaping: how segment losses become utilities.
      staggered: shorten the pairs' first episodes so that their clocks are spread over the horizon.

    Raises:
      ValueError: the segment or the noise period does not fit the horizon.
    """
    longest = clocks.episode_length(segment_length, horizon)
    if rule.period is not None and not segment_length <= rule.period <= longest:
        raise ValueError(f"noise_period must be in {segment_length}..{horizon}, not {rule.period}")

    def init(key: Any, theta: Array) -> EstimatorState:
        if horizon is None and rule.period is None and theta.size > num_pairs:
            raise ValueError(
                f"{num_pairs} pairs that never draw again span {num_pairs} of {theta.size} "
                "parameters; give a horizon, or noise with a period"
            )
        first = clocks.first_clocks(key, num_pairs, segment_length, horizon, staggered)
        return _fresh_state(key, theta, first, rule.accumulate)

    def perturb(
        state: EstimatorState, scale: Array | float = 1.0
    ) -> tuple[Perturbation, EstimatorState]:
        restart = state.clock == 0
        draw = restart if rule.period is None else state.clock % rule.period == 0
        noise = _draw_noise(state, draw, scale)
        accumulator = state.accumulator
        if rule.accumulate:
            kept = jnp.where(restart[:, None], 0, accumulator)
            accumulator = _accumulated(rule.decay, kept, state.noise, noise, draw[:, None])
        limit = clocks.step_limit(_clocks(state), segment_length)
        plan = Perturbation(noise, restart, limit)
        draws = state.draws + draw.astype(jnp.int32)
        return plan, state._replace(noise=noise, accumulator=accumulator, draws=draws)

    def gradient(
        state: EstimatorState, segment: Segment, placement: Placement = ALL_HERE
    ) -> tuple[Array, EstimatorState, Info]:
        valid = ~segment.invalid.any(axis=1)
        live = (segment.steps > 0) & valid[:, None]
        # Shaping needs the losses of all pairs: a few numbers, the same work wherever it is done.
        loss, live = placement.gather(segment.loss), placement.gather(live)
        delta, count, scale, zero = shaping.differences(loss, live, state.scale)
        weight = state.accumulator if rule.accumulate else state.noise
        total = placement.weighted_sum(placement.here(delta).astype(weight.dtype), weight)
        grad = total / jnp.asarray(2 * perturb_std * count, weight.dtype)
        over = jnp.logical_or(segment.ended.all(axis=1), ~valid)
        after = clocks.advance(_clocks(state), segment_length, horizon, over)
        state = state._replace(clock=after.clock, limit=after.limit, scale=scale)
        invalid = placement.gather(segment.invalid).sum(dtype=jnp.int32)
        return grad, state, Info(invalid, zero)

    return Estimator(init, perturb, gradient, segment_length, perturb_std)


def _accumulated(decay: float, kept: Array, held: Array, noise: Array, draw: Array) -> Array:
    """The sum of noise with this segment's; ``held`` was in force before, ``noise`` is now."""
    if decay == 1:
        return jnp.where(draw, kept + noise, kept)
    return jnp.where(draw, decay * kept + noise, decay * (kept - held) + held)


def _fresh_state(key: Any, theta: Array, first: Clocks, accumulate: bool) -> EstimatorState:
    """All pairs before their first episode, whose clocks are ``first``."""
    num_pairs = first.clock.size
    zeros = jnp.zeros((num_pairs, theta.size), theta.dtype)
    return EstimatorState(
        key=jax.random.key_data(jax.random.fold_in(key, streams.NOISE)),
        pair=jnp.arange(num_pairs, dtype=jnp.int32),
        noise=zeros,
        accumulator=zeros if accumulate else zeros[:, :0],
        draws=jnp.zeros(num_pairs, jnp.int32),
        clock=first.clock,
        limit=first.limit,
        scale=RunningScale.empty(),
    )


def _draw_noise(state: EstimatorState, draw: Array, scale: Array | float) -> Array:
    """Noise [N, P], new where ``draw`` [N] says so, and then ``scale`` times standard normal.

    It is keyed by pair and draw count, so it does not depend on placement. It is most of a large
    population's memory, so it is drawn in place, a few pairs at a time.
    """
    key = jax.random.wrap_key_data(state.key)
    num_pairs, num_params = state.noise.shape

    def one(pair: Array, index: Array) -> Array:
        pair_key = jax.random.fold_in(jax.random.fold_in(key, pair), index)
        noise = jax.random.normal(pair_key, (num_params,), state.noise.dtype)
        return jnp.asarray(scale, noise.dtype) * noise

    def drawn(draw: Array, pair: Array, draws: Array, noise: Array) -> Array:
        return jnp.where(draw[:, None], jax.vmap(one)(pair, draws), noise)

    def by(rows: int) -> Array:
        if rows >= num_pairs:
            return drawn(draw, state.pair, state.draws, state.noise)

        def each(i: Array, noise: Array) -> Array:
            # The last rows may overlap those before: a draw repeated gives the same numbers.
            start = jnp.minimum(i * rows, num_pairs - rows)
            whole = draw, state.pair, state.draws, noise
            part = [jax.lax.dynamic_slice_in_dim(x, start, rows) for x in whole]
            new = jax.lax.cond(part[0].any(), drawn, lambda *kept: kept[-1], *part)
            return jax.lax.dynamic_update_slice_in_dim(noise, new, start, 0)

        return jax.lax.fori_loop(0, -(-num_pairs // rows), each, state.noise)

    # A CPU gains from skipping idle pairs, where a draw costs more than a turn of the loop.
    on_cpu = 1 if num_params >= _LONG_DRAW else num_pairs
    elsewhere = max(1, _DRAWN_AT_ONCE // max(num_params, 1))
    return jax.lax.platform_dependent(cpu=lambda: by(on_cpu), default=lambda: by(elsewhere))


def _clocks(state: EstimatorState) -> Clocks:
    return Clocks(state.clock, state.limit)
