"""What a segment is charged with: its own losses, or these and what a baseline says comes after.

Without discount and baseline a member's loss is what it lost. With them it is how much worse things
went than expected, discounted over the segment's n steps:

    sum_t discount^t l_t + discount^n V(end) - V(start)        V of a terminated member is 0

so that the estimator's differences are of what a perturbation changed, seen through V, long before
its losses come (docs/estimators.md derives it). V(start) is what was charged as V(end) before, by
the baseline of that time: with discount 1 an episode's terms then telescope whatever the baseline
learns in between, so PES stays unbiased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl import streams
from pes_rl.baselines import BASELINES, Samples
from pes_rl.config import Config
from pes_rl.estimators import Perturbation, Placement, Segment
from pes_rl.particles.rollout import NOWHERE, Rollout, Spacing, Waypoints
from pes_rl.policies.normalizer import Affine

Array = jax.Array
_INTERVAL = 10  # env steps; observations nearer to each other teach a baseline little more


class CreditState(NamedTuple):
    """What is carried from one segment to the next.

    Attributes:
      value: [n, 2] the loss that the baseline expected of the members where the last segment left
        them; [n, 0] where nothing is expected.
      baseline: the baseline's own state.
    """

    value: Array
    baseline: Any


class Credit(NamedTuple):
    """Two pure functions.

    Attributes:
      init: ``(key, theta) -> state`` for N pairs that have not begun an episode.
      charge: ``(state, plan, rollout, affine) -> (segment, state)``, the rollout's segment with the
        losses that the estimator is to see.
    """

    init: Callable[[Array, Array], CreditState]
    charge: Callable[[CreditState, Perturbation, Rollout, Affine], tuple[Segment, CreditState]]


def make_credit(config: Config, observation_size: int, placement: Placement) -> Credit:
    """The configured discount and baseline, for the pairs that ``placement`` says are here."""
    spacing, baseline = configured_spacing(config), BASELINES[config.baseline]()

    def init(key: Array, theta: Array) -> CreditState:
        if not spacing.number:
            return CreditState(jnp.zeros((config.num_pairs, 0), theta.dtype), ())
        inner = baseline.init(
            jax.random.fold_in(key, streams.BASELINE), observation_size, theta.dtype
        )
        return CreditState(jnp.zeros((config.num_pairs, 2), theta.dtype), inner)

    def charge(
        state: CreditState, plan: Perturbation, rollout: Rollout, norm: Affine
    ) -> tuple[Segment, CreditState]:
        segment = rollout.segment
        if not spacing.number:
            return segment, state
        inputs = _inputs(rollout, norm)
        samples = samples_of(spacing, segment, rollout.waypoints, inputs)
        # Every process learns of all pairs, so that all have the same baseline.
        kind = state.value.dtype
        pairs = (placement.gather(x.astype(kind)) for x in samples)
        lesson = Samples(*(x.reshape(-1, *x.shape[2:]) for x in pairs))
        value = baseline.value(state.baseline, inputs[:, :, [0, -1]])
        before = jnp.where(plan.restart[:, None], value[..., 0], state.value)
        after = jnp.where(segment.ended, 0, value[..., 1])
        loss = samples.loss[..., 0] + spacing.discount**segment.steps * after - before
        learned = baseline.learn(state.baseline, lesson)
        return segment._replace(loss=loss), CreditState(after.astype(kind), learned)

    return Credit(init, charge)


def shift_rewards(rollout: Rollout, shift: float, spacing: Spacing) -> Rollout:
    """The same rollout, had every reward been less by ``shift``."""
    segment, way = rollout.segment, rollout.waypoints
    lost = shift * segment.steps.astype(segment.loss.dtype)
    rollout = rollout._replace(segment=segment._replace(loss=segment.loss + lost))
    if not spacing.number:
        return rollout
    number, interval, discount = spacing
    lived = jnp.clip(segment.steps[..., None] - interval * np.arange(number), 0, interval)
    discounted = np.append(0.0, np.cumsum(discount ** np.arange(interval)))
    counted = jnp.asarray(discounted, way.loss.dtype)[lived]
    return rollout._replace(waypoints=way._replace(loss=way.loss + shift * counted))


def configured_spacing(config: Config) -> Spacing:
    """Where the configured credit needs to look at members on their way."""
    if config.segment_length is None or (config.baseline == "none" and config.discount == 1):
        return NOWHERE
    return Spacing(-(-config.segment_length // _INTERVAL), _INTERVAL, config.discount)


def _inputs(rollout: Rollout, norm: Affine) -> Array:
    """What the members saw at the waypoints, [n, 2, M + 1, O], normalised; 0 of broken pairs."""
    scaled = jnp.clip(rollout.waypoints.deviation * norm.scale, -norm.bound, norm.bound)
    valid = ~rollout.segment.invalid.any(axis=1)
    return jnp.where(valid[:, None, None, None], scaled, 0)


def samples_of(spacing: Spacing, segment: Segment, waypoints: Waypoints, inputs: Array) -> Samples:
    """What the segment teaches; leaves [n, 2, ...]."""
    number, interval, discount = spacing
    starts = interval * jnp.arange(number)
    left = segment.steps[..., None] - starts  # env steps from each waypoint to the member's last
    ahead = jnp.zeros(segment.loss.shape, waypoints.loss.dtype)
    losses = []
    for m in reversed(range(number)):
        lived = jnp.clip(left[..., m], 0, interval)
        ahead = waypoints.loss[..., m] + discount**lived * ahead
        losses.append(ahead)
    valid = ~segment.invalid.any(axis=1)[:, None, None]
    there = (left > 0) & valid
    alive = ~segment.ended[..., None]
    return Samples(
        inputs=inputs[:, :, :-1],
        loss=jnp.where(there, jnp.stack(losses[::-1], axis=-1), 0),
        discount=jnp.where(there & alive, discount ** jnp.maximum(left, 0), 0),
        last=inputs[:, :, -1],
        weight=there.astype(inputs.dtype),
    )
