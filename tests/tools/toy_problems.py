"""Small unrolled problems with known answers, and the loops that drive estimators over them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.estimators import es, es_single, gpes, pes, truncated_es
from pes_rl.particles.problem import Step, lift

SIGMA = 0.3
NAMES = ("es", "truncated-es", "pes", "es-single", "gpes")


def build(name: str, num_pairs: int, K: int, T: int | None, period: int | None = None, **options):
    """An estimator by name, lock-step unless asked; `es` takes no K and `gpes` alone a period."""
    sigma = options.pop("perturb_std", SIGMA)
    if name == "es":
        options.pop("staggered", None)
        return es(num_pairs, sigma, T, **options)
    options = {"staggered": False, **options}
    if name == "gpes":
        return gpes(num_pairs, sigma, K, T, period or 2 * K, **options)
    factory = {"truncated-es": truncated_es, "pes": pes, "es-single": es_single}[name]
    return factory(num_pairs, sigma, K, T, **options)


@dataclass(frozen=True)
class Drifter:
    """Theta [3] and the random start decide an episode's length; NumPy twin in `tools.reference`.

    The carry keeps the start state, so that a test can hand it to the reference.
    """

    cap: float

    def init(self, key: Any, theta: jax.Array) -> tuple:
        start = jax.random.normal(key, (2,), theta.dtype)
        zero = jnp.zeros((), theta.dtype)
        return jnp.zeros((), jnp.int32), jnp.stack([start[0], zero]), zero, start

    def step(self, key: Any, theta: jax.Array, carry: tuple) -> tuple[tuple, Step]:
        time, x, spent, start = carry
        push = jnp.sin(1.7 * time + start[1])
        x = jnp.stack(
            [0.8 * x[0] + 0.3 * x[1] + 0.2 * theta[0], 0.7 * x[1] - 0.2 * x[0] + theta[1] * push]
        )
        spent = spent + 0.6 + 0.4 * push + 0.5 * theta[2] * x[0] + 0.2 * start[0]
        loss = 0.5 * (x[0] ** 2 + x[1] ** 2) + theta[2] * x[1] - 0.5
        return (time + 1, x, spent, start), Step(loss, spent > self.cap)


@dataclass(frozen=True)
class LinearQuadratic:
    """x' = A x + B theta from a random x_0, loss x'Qx/2 + q'x of the new state."""

    A = np.array([[0.8, 0.4], [-0.3, 0.7]])
    B = np.array([[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]])
    Q = np.array([[1.0, 0.3], [0.3, 0.5]])
    q = np.array([0.4, -0.8])
    start_mean = np.array([1.0, -0.5])
    start_std = 0.3
    theta = np.array([0.7, -0.4, 0.9])

    def init(self, key: Any, theta: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, (2,), theta.dtype)
        return jnp.asarray(self.start_mean, theta.dtype) + self.start_std * noise

    def step(self, key: Any, theta: jax.Array, x: jax.Array) -> tuple[jax.Array, Step]:
        x = self.A.astype(x.dtype) @ x + self.B.astype(x.dtype) @ theta
        loss = 0.5 * x @ self.Q.astype(x.dtype) @ x + self.q.astype(x.dtype) @ x
        return x, Step(loss, jnp.zeros((), bool))

    def gradient(self, segment_length: int, horizon: int) -> np.ndarray:
        """Sum over segments of dL_k/dtheta_k; with one segment, the gradient of the total loss.

        x_0 enters linearly and is independent of the noise, so its mean stands for it.
        """
        x, total = self.start_mean, np.zeros(3)
        for t in range(horizon):
            if t % segment_length == 0:
                sensitivity = np.zeros((2, 3))  # of x to the parameters of the present segment
            x = self.A @ x + self.B @ self.theta
            sensitivity = self.A @ sensitivity + self.B
            total = total + sensitivity.T @ (self.Q @ x + self.q)
        return total


@dataclass(frozen=True)
class Mortal:
    """A scalar state; after each step an episode ends with a probability that rises with it.

    Both members see the same uniform number, so they usually die at different steps, and their
    lengths depend on theta [1]. Averaged over that number the loss is smooth in theta, hence
    Gauss-Hermite quadrature gives the gradient of the smoothed loss to many digits.
    """

    theta = np.array([0.2])

    def init(self, key: Any, theta: jax.Array) -> jax.Array:
        return jnp.zeros((), theta.dtype)

    def step(self, key: Any, theta: jax.Array, x: jax.Array) -> tuple[jax.Array, Step]:
        x = 0.7 * x + theta[0]
        dead = jax.random.uniform(key, (), x.dtype) < jax.nn.sigmoid(2.0 * x - 1.0)
        return x, Step(0.5 * x * x - 1.0, dead)

    def mean_segment_losses(self, thetas: np.ndarray, segment_length: int, horizon: int):
        """Expected loss [M, ...] of every segment, given that segment k uses thetas[k]."""
        x, alive = np.zeros(thetas.shape[1:]), np.ones(thetas.shape[1:])
        losses = np.zeros(thetas.shape)
        for t in range(horizon):
            k = t // segment_length
            x = 0.7 * x + thetas[k]
            losses[k] += alive * (0.5 * x * x - 1.0)
            alive = alive * (1 - 1 / (1 + np.exp(1.0 - 2.0 * x)))
        return losses


class LinearSegments:
    """Loss c_k . theta / K at each step of segment k: segment k feels its own parameters only."""

    def __init__(self, gradients: np.ndarray, segment_length: int):
        self.gradients, self.K = gradients, segment_length

    def init(self, key: Any, theta: jax.Array) -> jax.Array:
        return jnp.zeros((), jnp.int32)

    def step(self, key: Any, theta: jax.Array, time: jax.Array) -> tuple[jax.Array, Step]:
        c = jnp.asarray(self.gradients, theta.dtype)[time // self.K]
        return time + 1, Step(c @ theta / self.K, jnp.zeros((), bool))


class Record(NamedTuple):
    """Everything seen in a run; each array has a leading axis over updates."""

    theta: Any
    plan: Any
    segment: Any
    gradient: Any
    state: Any
    info: Any
    carry: Any


@functools.cache
def _compiled_unroll(
    problem, num_pairs: int, segment_length: int, perturb_std: float, replicas: int | None = None
):
    """Compiling dominates short runs, so runs of all estimators share this part."""
    init, unroll = lift(problem, num_pairs, segment_length, perturb_std)
    if replicas is not None:
        init, unroll = jax.vmap(init, (0, None)), jax.vmap(unroll, (None, 0, 0))
    return init, jax.jit(unroll)


def record(estimator, problem, num_pairs: int, theta, key, updates: int, step_size: float = 0.0):
    """Run normalised gradient descent for some updates; a NumPy record of everything seen."""
    begin, unroll = _compiled_unroll(
        problem, num_pairs, estimator.segment_length, estimator.perturb_std
    )
    gradient_of = jax.jit(estimator.gradient)
    noise_key, problem_key = jax.random.split(key)
    state, particles = estimator.init(noise_key, theta), begin(problem_key, theta)
    seen = []
    for _ in range(updates):
        plan, state = estimator.perturb(state)
        segment, particles = unroll(theta, plan, particles)
        gradient, state, info = gradient_of(state, segment)
        now = Record(theta, plan, segment, gradient, state, info, particles.carry)
        seen.append(jax.tree.map(np.asarray, now))
        theta = theta - step_size * gradient / (1 + jnp.linalg.norm(gradient))
    return jax.tree.map(lambda *values: np.stack(values), *seen)


def episode_gradients(
    estimator, problem, num_pairs: int, theta, seed: int, replicas: int, episodes: int, updates: int
) -> np.ndarray:
    """Gradients [replicas, P] summed over whole episodes, and averaged over their fixed number.

    The pairs of a replica must restart together: use one pair where lengths vary. ``updates`` is
    the number of segments after which even the longest episodes are over.
    """
    begin, unroll = _compiled_unroll(
        problem, num_pairs, estimator.segment_length, estimator.perturb_std, replicas
    )
    keys = jax.vmap(jax.random.split)(jax.random.split(jax.random.key(seed), replicas))
    state = jax.vmap(estimator.init, (0, None))(keys[:, 0], theta)
    particles = begin(keys[:, 1], theta)
    perturb, gradient_of = jax.vmap(estimator.perturb), jax.jit(jax.vmap(estimator.gradient))
    begun, total = np.zeros(replicas, int), np.zeros((replicas, theta.size))
    for _ in range(updates):
        plan, state = perturb(state)
        segment, particles = unroll(theta, plan, particles)
        gradient, state, _ = gradient_of(state, segment)
        begun += np.asarray(plan.restart[:, 0])
        total += np.where((begun <= episodes)[:, None], gradient, 0)
    assert (begun + np.asarray(state.clock[:, 0] == 0) > episodes).all(), "episodes not over"
    return total / episodes
