"""One update as three pure functions, the same on a host, on devices and in several processes.

    init(theta)                   -> state
    ask(state)                    -> plan, affine, state      what the population is to run
    tell(state, plan, rollout)    -> state, row               estimate, descend, normalise

Whoever drives them unrolls the population in between: a compiled program does all of it, many
updates at a time (`pes_rl.training.device`); a host steps its simulators (`pes_rl.training.host`).
With pairs spread over devices or processes the functions run under `jax.shard_map`: noise and
clocks stay with the pairs, losses and sums over blocks of pairs are exchanged, and all that follows
from them is computed alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import SUMMING, Config
from pes_rl.estimators import (
    ESTIMATORS,
    Estimator,
    EstimatorState,
    Perturbation,
    Placement,
    Shaping,
)
from pes_rl.estimators.core import HostArray
from pes_rl.particles.rollout import Rollout
from pes_rl.particles.statistics import Count, Statistics
from pes_rl.policies.normalizer import Affine
from pes_rl.training.credit import CreditState, configured_spacing, make_credit, shift_rewards
from pes_rl.training.descent import descend
from pes_rl.training.placement import AXIS

Array = jax.Array
_SPREAD = 2654435761  # so that no start begins as a run of a nearby seed does


class TrainState(NamedTuple):
    """All that the next update depends on, apart from the environments.

    Attributes:
      key: key data of the run; it never changes.
      theta: [P], what is perturbed and updated.
      average: [P] its running mean, which is scored and saved; theta itself if there is to be none.
      optimizer: the optimiser's state.
      statistics: of the observations.
      env_steps: live member steps so far.
      begun: what they were when this start began, 0 for the first.
      credit: what a baseline knows, and what it expected of the members.
      estimator: noise and clocks of the pairs.
    """

    key: Array
    theta: Array
    average: Array
    optimizer: Any
    statistics: Statistics
    env_steps: Count
    begun: Count
    credit: CreditState
    estimator: EstimatorState


class Row(NamedTuple):
    """Scalars of one update, of JAX or of NumPy.

    Attributes:
      steps: live member steps, uint32.
      slots: member steps up to the pairs' step limits, uint32; ended members make fewer.
      segment_return: mean return of the members that were live and stayed sound.
      grad_norm: norm of the gradient.
      invalid_particles: members whose simulation broke down.
      zero_update: whether shaping refused the update.
      learning_rate: the scheduled rate it was made with.
      perturb_std: the scheduled sigma of the noise that was drawn for it.
    """

    steps: HostArray
    slots: HostArray
    segment_return: HostArray
    grad_norm: HostArray
    invalid_particles: HostArray
    zero_update: HostArray
    learning_rate: HostArray
    perturb_std: HostArray

    def metrics(self) -> dict[str, Any]:
        """The ``train/`` values of the update's metrics row."""
        return {
            "train/segment_return": float(self.segment_return),
            "train/grad_norm": float(self.grad_norm),
            "train/live_fraction": int(self.steps) / int(self.slots),
            "train/invalid_particles": int(self.invalid_particles),
            "train/zero_updates": int(self.zero_update),
            # Of float32, whose further digits would only look like rates that nobody chose.
            "train/learning_rate": float(f"{self.learning_rate:.7g}"),
            "train/perturb_std": float(f"{self.perturb_std:.7g}"),
        }


class Update(NamedTuple):
    """Three pure functions, for the n pairs that are here.

    Attributes:
      init: ``(theta [P]) -> state``, in theta's dtype.
      ask: ``(state) -> (plan, affine, state)``: the pairs' noise, restarts and step limits, and the
        observation normalisation in force.
      tell: ``(state, plan, rollout) -> (state, row)``.
    """

    init: Callable[[Array], TrainState]
    ask: Callable[[TrainState], tuple[Perturbation, Affine, TrainState]]
    tell: Callable[[TrainState, Perturbation, Rollout], tuple[TrainState, Row]]


def make_update(config: Config, observation_size: int, placement: Placement) -> Update:
    """The configured update, for the pairs that ``placement`` says are here."""
    estimator, optimizer = configured_estimator(config), make_optimizer(config)
    credit = make_credit(config, observation_size, placement)

    def init(theta: Array) -> TrainState:
        key = jax.random.key(config.seed)
        return TrainState(
            key=jax.random.key_data(key),
            theta=theta,
            average=theta,
            optimizer=optimizer.init(theta),
            statistics=Statistics.empty(observation_size),
            env_steps=Count.zero(),
            begun=Count.zero(),
            credit=credit.init(key, theta),
            estimator=estimator.init(key, theta),
        )

    def ask(state: TrainState) -> tuple[Perturbation, Affine, TrainState]:
        scale = perturb_std(config, state.env_steps, state.begun) / config.perturb_std
        plan, inner = estimator.perturb(state.estimator, scale)
        return plan, affine(config, state.statistics), state._replace(estimator=inner)

    def tell(state: TrainState, plan: Perturbation, rollout: Rollout) -> tuple[TrainState, Row]:
        norm = affine(config, state.statistics)
        shifted = shift_rewards(rollout, config.reward_shift, configured_spacing(config))
        segment, expected = credit.charge(state.credit, plan, shifted, norm)
        grad, inner, info = estimator.gradient(state.estimator, segment, placement)
        rate = learning_rate(config, state.env_steps)
        theta, optimizer_state = descend(
            optimizer, (state.theta, state.optimizer), grad, rate, info.zero_update
        )
        steps, slots, segment_return = _totals(plan, rollout, placement)
        row = Row(
            steps,
            slots,
            segment_return,
            jnp.linalg.norm(grad),
            info.invalid_particles,
            info.zero_update,
            rate,
            perturb_std(config, state.env_steps, state.begun),
        )
        state = TrainState(
            state.key,
            theta,
            _average(config, state.average, theta),
            optimizer_state,
            _observe(config, state.statistics, rollout, placement),
            state.env_steps.plus(steps),
            state.begun,
            expected,
            inner,
        )
        return state, row

    return Update(init, ask, tell)


def start_seed(seed: int, start: int) -> int:
    """The seed of a start's first parameters: of the first start the run's, of others their own."""
    return (seed + start * _SPREAD) % 2**32


def begun_anew(state: TrainState, fresh: TrainState) -> TrainState:
    """A ``fresh`` start in a run that goes on: its env steps and its draws of noise do too."""
    estimator = fresh.estimator._replace(draws=state.estimator.draws)
    return fresh._replace(env_steps=state.env_steps, begun=state.env_steps, estimator=estimator)


def layout() -> TrainState:
    """How a `TrainState` lies on a mesh: what belongs to pairs is spread, all else is everywhere.

    Each leaf stands for a whole branch.
    """
    pairs: Any = Spec(AXIS)
    everywhere: Any = Spec()
    estimator = EstimatorState(everywhere, *[pairs] * 6, scale=everywhere)
    credit = CreditState(pairs, everywhere)
    return TrainState(*[everywhere] * 7, credit=credit, estimator=estimator)


def configured_estimator(config: Config) -> Estimator:
    """The configured estimator, for episodes of the configured horizon."""
    options: dict[str, Any] = {"shaping": Shaping(config.shaping, config.num_top_pairs)}
    if config.segment_length is not None:
        options |= {"segment_length": config.segment_length, "staggered": config.staggered}
    if config.noise_period is not None:
        options["noise_period"] = config.noise_period
    if config.estimator in SUMMING:
        options["decay"] = config.discount**config.unroll_length * config.trace_decay
    make = ESTIMATORS[config.estimator]
    return make(config.num_pairs, config.perturb_std, horizon=config.horizon, **options)


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """The configured optax optimiser at unit learning rate; schedules scale its updates."""
    kinds = {
        "sgd": lambda: optax.trace(config.momentum) if config.momentum else optax.identity(),
        "adam": optax.scale_by_adam,
        "adamw": optax.scale_by_adam,
        "rmsprop": optax.scale_by_rms,
    }
    clip, decoupled = config.max_grad_norm, config.optimizer == "adamw"
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(
        optax.clip_by_global_norm(clip) if clip is not None else optax.identity(),
        optax.identity() if decoupled else decay,
        kinds[config.optimizer](),
        decay if decoupled else optax.identity(),
        optax.scale(-1.0),
    )


def learning_rate(config: Config, env_steps: Count) -> Array:
    """The scheduled learning rate; schedules are absolute in env steps, whichever start it is."""
    start = jnp.asarray(config.learning_rate, jnp.float32)
    if config.schedule_env_steps is None:  # constant
        return start
    progress = jnp.minimum(env_steps.to_float() / config.schedule_env_steps, 1.0)
    progress = progress.astype(jnp.float32)
    if config.learning_rate_schedule == "linear":
        return start * (1 - progress)
    return start * 0.5 * (1 + jnp.cos(jnp.pi * progress))


def perturb_std(config: Config, env_steps: Count, begun: Count) -> Array:
    """The scheduled sigma, which falls like the inverse of env steps since the start began."""
    start = jnp.asarray(config.perturb_std, jnp.float32)
    if config.perturb_std_decay_steps is None:  # constant
        return start
    fall = 1 + (env_steps.to_float() - begun.to_float()) / config.perturb_std_decay_steps
    return start / fall.astype(jnp.float32)


def _average(config: Config, average: Array, theta: Array) -> Array:
    """The running mean of theta (Polyak and Juditsky 1992), older ones fading by the episode."""
    if config.average_episodes is None:
        return theta
    share = min(1.0, config.unroll_length / (config.average_episodes * config.horizon))
    return average + jnp.asarray(share, theta.dtype) * (theta - average)


def affine(config: Config, statistics: Statistics) -> Affine:
    """The observation normalisation in force."""
    if config.normalize_observations:
        return statistics.affine()
    return Affine.identity(statistics.mean.size)


def _totals(
    plan: Perturbation, rollout: Rollout, placement: Placement
) -> tuple[Array, Array, Array]:
    """Live steps, slots and mean return of all pairs."""
    segment = jax.tree.map(placement.gather, rollout.segment)
    steps = segment.steps.sum(dtype=jnp.uint32)
    slots = 2 * placement.gather(plan.step_limit).sum(dtype=jnp.uint32)
    counted = (segment.steps > 0) & ~segment.invalid
    gained = jnp.where(counted, -segment.loss, 0)
    return steps, slots, gained.sum() / jnp.maximum(counted.sum(), 1)


def _observe(
    config: Config, statistics: Statistics, rollout: Rollout, placement: Placement
) -> Statistics:
    """Statistics with what the pairs observed whose simulations stayed sound."""
    if not config.normalize_observations:
        return statistics
    valid = ~rollout.segment.invalid.any(axis=1)
    ones = jnp.ones(valid.shape, rollout.first.dtype)
    first, second = (
        placement.weighted_sum(ones, jnp.where(valid[:, None], sums, 0))
        for sums in (rollout.first, rollout.second)
    )
    steps = jnp.where(valid[:, None], rollout.segment.steps, 0).sum(axis=1)
    return statistics.merge(placement.gather(steps).sum(dtype=jnp.uint32), first, second)
