"""The fused update: perturb, unroll, estimate, descend, normalise, in one program.

Several updates are a scan inside it, so nothing returns to Python before their metrics do. On
several devices the whole of it runs under `jax.shard_map`: a pair's noise, environments and clocks
stay on its device; devices exchange the segments' losses and sums over their blocks of pairs, and
compute all that follows from them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import Config
from pes_rl.estimators import Estimator, EstimatorState, Placement
from pes_rl.particles.device import Population, Unrolled
from pes_rl.particles.statistics import Affine, Count, Statistics, identity
from pes_rl.training.learner import descend
from pes_rl.training.placement import AXIS, make_placement

Array = jax.Array


class DeviceState(NamedTuple):
    """All that the next update depends on.

    Attributes:
      key: key data of the run; it never changes.
      theta: [P].
      optimizer: the optimiser's state.
      statistics: of the observations.
      env_steps: live member steps so far.
      estimator: noise and clocks of the pairs.
      population: their environments.
    """

    key: Array
    theta: Array
    optimizer: Any
    statistics: Statistics
    env_steps: Count
    estimator: EstimatorState
    population: Any


class Row(NamedTuple):
    """Scalars of one update.

    Attributes:
      steps: live member steps, uint32.
      slots: member steps up to the pairs' step limits, uint32; ended members make fewer.
      segment_return: mean return of the members that were live and stayed sound.
      grad_norm: norm of the gradient.
      invalid_particles: members whose simulation broke down.
      zero_update: whether shaping refused the update.
      learning_rate: the scheduled rate it was made with.
    """

    steps: Array
    slots: Array
    segment_return: Array
    grad_norm: Array
    invalid_particles: Array
    zero_update: Array
    learning_rate: Array


class Parts(NamedTuple):
    """What an update is made of."""

    config: Config
    estimator: Estimator
    optimizer: optax.GradientTransformation
    population: Population
    observation_size: int


def init_state(parts: Parts, theta: Array) -> DeviceState:
    """State before the first update, in theta's dtype."""
    key = jax.random.key(parts.config.seed)
    return DeviceState(
        key=jax.random.key_data(key),
        theta=theta,
        optimizer=parts.optimizer.init(theta),
        statistics=Statistics.empty(parts.observation_size),
        env_steps=Count.zero(),
        estimator=parts.estimator.init(key, theta),
        population=parts.population.init(theta.dtype),
    )


def specs() -> DeviceState:
    """How a `DeviceState` is laid out over the mesh: pairs are spread, all else is everywhere."""
    pairs: Any = Spec(AXIS)
    everywhere: Any = Spec()
    estimator = EstimatorState(everywhere, *[pairs] * 6, scale=everywhere)
    return DeviceState(*[everywhere] * 5, estimator=estimator, population=pairs)


def shardings(mesh: Mesh) -> DeviceState:
    """`specs` on a mesh."""
    return jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), specs(), is_leaf=lambda x: isinstance(x, Spec)
    )


def make_advance(parts: Parts, mesh: Mesh, num_updates: int) -> Callable:
    """``(state) -> (state, rows)``: some updates; the rows' leaves are [num_updates]."""
    update = make_update(parts, make_placement(parts.config.num_pairs, mesh.size))

    def advance(state: DeviceState) -> tuple[DeviceState, Row]:
        # The default would be TF32 on some GPUs, which is too coarse for physics and policies.
        with jax.default_matmul_precision("highest"):
            return jax.lax.scan(lambda s, _: update(s), state, length=num_updates)

    if mesh.size == 1:
        return advance
    return jax.shard_map(
        advance, mesh=mesh, in_specs=(specs(),), out_specs=(specs(), Spec()), check_vma=False
    )


def make_update(parts: Parts, placement: Placement) -> Callable[[DeviceState], tuple]:
    """``(state) -> (state, Row)``: one update, for the pairs that are here."""
    config, estimator = parts.config, parts.estimator

    def update(state: DeviceState) -> tuple[DeviceState, Row]:
        plan, inner = estimator.perturb(state.estimator)
        norm = affine(config, state)
        out, population = parts.population.unroll(
            state.key, state.theta, plan, state.population, norm
        )
        grad, inner, info = estimator.gradient(inner, out.segment, placement)
        rate = learning_rate(config, state.env_steps)
        theta, memory = descend(
            parts.optimizer, (state.theta, state.optimizer), grad, rate, info.zero_update
        )
        segment = jax.tree.map(placement.gather, out.segment)
        steps = segment.steps.sum(dtype=jnp.uint32)
        slots = 2 * placement.gather(plan.step_limit).sum(dtype=jnp.uint32)
        counted = (segment.steps > 0) & ~segment.invalid
        gained = jnp.where(counted, config.reward_shift * segment.steps - segment.loss, 0)
        mean_return = gained.sum() / jnp.maximum(counted.sum(), 1)
        row = Row(
            steps,
            slots,
            mean_return,
            jnp.linalg.norm(grad),
            info.invalid_particles,
            info.zero_update,
            rate,
        )
        state = DeviceState(
            state.key,
            theta,
            memory,
            _observe(config, state.statistics, out, placement),
            state.env_steps.plus(steps),
            inner,
            population,
        )
        return state, row

    return update


def affine(config: Config, state: DeviceState) -> Affine:
    """The observation normalisation in force."""
    if config.normalize_observations:
        return state.statistics.affine()
    return identity(state.statistics.mean.size)


def learning_rate(config: Config, env_steps: Count) -> Array:
    """The scheduled learning rate; schedules are absolute in env steps."""
    start = jnp.asarray(config.learning_rate, jnp.float32)
    if config.schedule_env_steps is None:  # constant
        return start
    progress = jnp.minimum(env_steps.to_float() / config.schedule_env_steps, 1.0)
    progress = progress.astype(jnp.float32)
    if config.learning_rate_schedule == "linear":
        return start * (1 - progress)
    return start * 0.5 * (1 + jnp.cos(jnp.pi * progress))


def _observe(
    config: Config, statistics: Statistics, out: Unrolled, placement: Placement
) -> Statistics:
    """Statistics with what the pairs observed whose simulations stayed sound."""
    if not config.normalize_observations:
        return statistics
    valid = ~out.segment.invalid.any(axis=1)
    ones = jnp.ones(valid.shape, out.first.dtype)
    first, second = (
        placement.weighted_sum(ones, jnp.where(valid[:, None], sums, 0))
        for sums in (out.first, out.second)
    )
    steps = jnp.where(valid[:, None], out.segment.steps, 0).sum(axis=1)
    return statistics.merge(placement.gather(steps).sum(dtype=jnp.uint32), first, second)
