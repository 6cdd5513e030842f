"""The central update: perturb the parameters, estimate a gradient, apply an optax optimiser.

Losses arrive in float64 from host engines and are differenced before they are cast; parameters,
noise and accumulators keep theta's dtype.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.config import Config
from pes_rl.estimators import (
    ALL_HERE,
    ESTIMATORS,
    Estimator,
    EstimatorState,
    Placement,
    Segment,
    Shaping,
    members,
)


class LearnerState(NamedTuple):
    """theta [P], the optimiser's state and the estimator's state."""

    theta: jax.Array
    optimizer: Any
    estimator: EstimatorState


class Proposal(NamedTuple):
    """What the population runs next: theta [N, 2, P], restart bool [N], step_limit int32 [N]."""

    theta: np.ndarray
    restart: np.ndarray
    step_limit: np.ndarray


class Outcome(NamedTuple):
    """Scalars of one update."""

    grad_norm: float
    invalid_particles: int
    zero_update: bool


class Learner(NamedTuple):
    """Three functions.

    Attributes:
      init: ``(theta) -> state``.
      propose: ``(state) -> (Proposal, state)``.
      learn: ``(state, segment, learning_rate) -> (state, Outcome)``.
    """

    init: Callable[[np.ndarray], LearnerState]
    propose: Callable[[LearnerState], tuple[Proposal, LearnerState]]
    learn: Callable[[LearnerState, Segment, float], tuple[LearnerState, Outcome]]


def make_estimator(config: Config, horizon: int) -> Estimator:
    """The configured estimator, for episodes of ``horizon`` env steps."""
    options: dict[str, Any] = {"shaping": Shaping(config.shaping, config.num_top_pairs)}
    if config.estimator == "es":
        return ESTIMATORS["es"](config.num_pairs, config.perturb_std, horizon, **options)
    if config.estimator == "gpes":
        options["noise_period"] = config.noise_period
    return ESTIMATORS[config.estimator](
        config.num_pairs,
        config.perturb_std,
        config.segment_length,
        horizon,
        staggered=config.staggered,
        **options,
    )


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


def descend(
    optimizer: optax.GradientTransformation,
    before: tuple[jax.Array, Any],
    grad: jax.Array,
    rate: jax.Array,
    refused: jax.Array,
) -> tuple[jax.Array, Any]:
    """theta and the optimiser's state after one step; as they were where shaping ``refused``."""
    theta, memory = before
    updates: Any
    updates, memory = optimizer.update(grad, memory, theta)
    # An update that shaping refused must not move theta by momentum or decay either.
    return jax.tree.map(
        lambda old, new: jnp.where(refused, old, new), before, (theta + rate * updates, memory)
    )


def learning_rate(config: Config, env_steps: int) -> float:
    """The scheduled learning rate; schedules are absolute in env steps."""
    if config.schedule_env_steps is None:  # constant
        return config.learning_rate
    progress = min(env_steps / config.schedule_env_steps, 1.0)
    if config.learning_rate_schedule == "linear":
        return config.learning_rate * (1.0 - progress)
    return config.learning_rate * 0.5 * (1.0 + float(np.cos(np.pi * progress)))


class Steps(NamedTuple):
    """The pure functions behind a `Learner`, for whoever compiles them."""

    init: Callable[[jax.Array], LearnerState]
    propose: Callable[[LearnerState], tuple]
    learn: Callable[[LearnerState, Segment, jax.Array], tuple]


def make_steps(config: Config, horizon: int, placement: Placement = ALL_HERE) -> Steps:
    """The configured estimator and optimiser, for the pairs that ``placement`` says are here."""
    estimator, optimizer = make_estimator(config, horizon), make_optimizer(config)

    def init(theta: jax.Array) -> LearnerState:
        key = jax.random.key(config.seed)
        return LearnerState(theta, optimizer.init(theta), estimator.init(key, theta))

    def propose(state: LearnerState):
        plan, inner = estimator.perturb(state.estimator)
        particles = members(state.theta, plan.noise, config.perturb_std)
        return (particles, plan.restart, plan.step_limit), state._replace(estimator=inner)

    def learn(state: LearnerState, segment: Segment, rate: jax.Array):
        grad, inner, info = estimator.gradient(state.estimator, segment, placement)
        theta, optimizer_state = descend(
            optimizer, (state.theta, state.optimizer), grad, rate, info.zero_update
        )
        scalars = jnp.linalg.norm(grad), info.invalid_particles, info.zero_update
        return LearnerState(theta, optimizer_state, inner), scalars

    return Steps(init, propose, learn)


@contextlib.contextmanager
def host_math() -> Iterator[None]:
    """Losses in float64, and beside the physics: an accelerator would cost a transfer an update."""
    with jax.enable_x64(True), jax.default_device(_cpu()):
        yield


@functools.cache
def _cpu() -> Any:
    return jax.local_devices(backend="cpu")[0]


def make_learner(config: Config, horizon: int) -> Learner:
    """Compile-once functions of the configured estimator and optimiser."""
    init, propose, learn = (jax.jit(step) for step in make_steps(config, horizon))

    def host_propose(state: LearnerState) -> tuple[Proposal, LearnerState]:
        with host_math():
            proposal, state = propose(state)
        return Proposal(*map(np.asarray, proposal)), state

    def host_learn(state: LearnerState, segment: Segment, rate: float):
        with host_math():
            state, (norm, invalid, zero) = learn(state, segment, np.float32(rate))
        return state, Outcome(float(norm), int(invalid), bool(zero))

    def host_init(theta: np.ndarray) -> LearnerState:
        with host_math():
            return init(jnp.asarray(theta))

    return Learner(host_init, host_propose, host_learn)
