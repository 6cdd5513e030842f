"""Variances of single pairs against unrolls per episode, measured and in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.estimators import es_single, pes
from pes_rl.problems import Problem
from pes_rl.problems.char_lstm import CharLSTM
from pes_rl.problems.linear import LinearSegments, Tracking
from pes_rl.problems.text import python_manual
from pes_rl.reproductions.variance_theory import (
    es_single_variance,
    pes_variance,
    pes_variance_own,
)
from pes_rl.unrolled import bptt, evolution, summed_gradients

FACTORIES = {"es-single": es_single, "pes": pes}


Measured = dict[str, dict[int, tuple[float, float]]]


@dataclass
class Panel:
    """One setting: variances of one pair by estimator and number of unrolls, over |g|^2.

    Attributes:
      title: above the panel.
      num_params: P.
      measured: estimator -> unrolls -> (mean, standard error).
      theory: estimator -> unrolls -> value; empty where there is none.
    """

    title: str
    num_params: int
    measured: Measured = field(default_factory=dict)
    theory: dict[str, dict[int, float]] = field(default_factory=dict)

    def worst(self, estimator: str) -> float:
        """Largest relative deviation of the measured from the theory."""
        theory, measured = self.theory[estimator], self.measured[estimator]
        return max(abs(measured[M][0] / theory[M] - 1) for M in measured)

    def value(self, estimator: str, unrolls: int) -> float:
        """Measured variance."""
        return self.measured[estimator][unrolls][0]

    def crossing(self) -> str:
        """From where on PES varies more than ES-Single: interpolated between the points."""
        level = float(np.mean([mean for mean, _ in self.measured["es-single"].values()]))
        points = sorted((M, mean) for M, (mean, _) in self.measured["pes"].items())
        above = [M for M, mean in points if M > 1 and mean > level]
        if not above:
            return "PES varies less at every number of unrolls"
        first = [M for M, _ in points].index(above[0])
        (a, low), (b, high) = points[first - 1], points[first]
        if a == 1:  # one unroll is one draw: the same estimator
            return "PES varies more as soon as there is more than one unroll"
        part = np.log(level / low) / np.log(high / low)
        return f"the curves cross at {a * (b / a) ** part:.0f} unrolls"


def spread(estimates: Any, exact: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of |estimate - exact|^2 / |exact|^2 over estimates [R, P]."""
    squares = ((np.asarray(estimates, float) - exact) ** 2).sum(axis=1) / (exact @ exact)
    return float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))


def measure(
    make: Callable[[Any], Problem],
    variants: dict[str, tuple[Any, np.ndarray]],
    theta: jax.Array,
    unrolls: tuple[int, ...],
    pairs: int,
    perturb_std: float,
    T: int,
) -> dict[str, Measured]:
    """Variances of single pairs over episodes of T steps cut into M segments.

    Args:
      make: builds a problem from its data.
      variants: data and exact gradient [P] by name; one program serves them all.
      theta: [P].
      unrolls: the numbers M.
      pairs: single pairs to average over; every M and every variant sees the same noise.
      perturb_std: sigma.
      T: steps per episode.
    """
    keys = jax.random.split(jax.random.key(0), pairs)
    found: dict[str, Measured] = {name: {} for name in variants}
    for estimator, factory in FACTORIES.items():
        # ES-Single's sum over an episode does not depend on where the cuts are: few points do.
        few = (unrolls[0], *unrolls[3:-1:3], unrolls[-1])
        for M in unrolls if estimator == "pes" else few:

            def sums(data: Any, theta: Any, keys: Any, K: int = T // M, factory: Any = factory):
                method = evolution(make(data), factory(1, perturb_std, K, T, staggered=False))
                return summed_gradients(method)(theta, keys, jnp.int32(T // K))

            compiled = jax.jit(sums)
            for name, (data, exact) in variants.items():
                points = found[name].setdefault(estimator, {})
                points[M] = spread(compiled(data, theta, keys), exact)
    return found


def linear(unrolls: tuple[int, ...], pairs: int) -> list[Panel]:
    """Every segment feels its own parameters only; its gradients are equal, or independent."""
    P, longest = 20, max(unrolls)
    draws = np.random.default_rng(0).normal(size=(longest, P))
    kinds = {"identical": np.tile(draws[:1], (longest, 1)), "independent": draws}
    keys = jax.random.split(jax.random.key(0), pairs)
    made = {}
    for kind, gradients in kinds.items():
        made[kind] = Panel(f"Linear, {kind} segment gradients", P)
        totals = {M: gradients[:M].sum(axis=0) for M in unrolls}
        made[kind].theory = {
            "es-single": {M: es_single_variance(g) / float(g @ g) for M, g in totals.items()},
            "pes": {M: pes_variance_own(gradients[:M]) / float(g @ g) for M, g in totals.items()},
        }
    for estimator, factory in FACTORIES.items():

        def sums(gradients: Any, keys: Any, M: Any, factory: Any = factory) -> jax.Array:
            # An episode of M segments is the beginning of a longer one: one program for all M.
            estimator = factory(1, 1.0, 1, longest, staggered=False)
            method = evolution(LinearSegments(gradients), estimator)
            return summed_gradients(method)(jnp.zeros(P), keys, M)

        compiled = jax.jit(sums)
        for kind, gradients in kinds.items():
            data = jnp.asarray(gradients, jnp.float32)
            made[kind].measured[estimator] = {
                M: spread(compiled(data, keys, jnp.int32(M)), gradients[:M].sum(axis=0))
                for M in unrolls
            }
    return list(made.values())


def quadratic(unrolls: tuple[int, ...], pairs: int, T: int) -> list[Panel]:
    """A system that remembers all earlier parameters follows constant, or noisy, targets."""
    S, P, rng = 4, 10, np.random.default_rng(1)
    A = jnp.asarray(0.8 * np.linalg.qr(rng.normal(size=(S, S)))[0], jnp.float32)
    B = jnp.asarray(rng.normal(size=(S, P)) / np.sqrt(P), jnp.float32)
    theta = jnp.asarray(rng.normal(size=P), jnp.float32)
    noise = 10 * rng.normal(size=(T, S))
    kinds = {"constant": np.ones((T, S)), "noisy": 1 + noise}

    def make(targets: Any) -> Tracking:
        return Tracking(A, B, targets)

    variants = with_gradients(make, kinds, jnp.float32, theta, T)
    measured = measure(make, variants, theta, unrolls, pairs, 0.1, T)
    made = []
    for kind, (targets, exact) in variants.items():
        square = float(exact @ exact)
        forms = {
            M: pes_variance(segment_jacobian(make(targets), theta, M, T)) / square for M in unrolls
        }
        flat = dict.fromkeys(unrolls, es_single_variance(exact) / square)
        theory = {"es-single": flat, "pes": forms}
        made.append(Panel(f"Quadratic with memory, {kind} targets", P, measured[kind], theory))
    return made


def lstm(unrolls: tuple[int, ...], pairs: int, T: int) -> dict[str, Panel]:
    """A small LSTM at its initial weights, on one sequence of characters."""
    corpus, vocabulary = python_manual(), 50
    kinds = {
        "real": corpus.ids[: T + 1],
        "random": np.random.default_rng(5).integers(0, vocabulary, T + 1),
        "repeated": np.full(T + 1, corpus.ids[0]),
    }

    def make(sequence: Any) -> CharLSTM:
        return CharLSTM(sequence, vocabulary)

    theta = make(None).initial_theta(jax.random.key(42))
    variants = with_gradients(make, kinds, jnp.int32, theta, T)
    measured = measure(make, variants, theta, unrolls, pairs, 1e-3, T)
    return {kind: Panel(f"LSTM, {kind} characters", theta.size, measured[kind]) for kind in kinds}


def with_gradients(
    make: Callable[[Any], Problem], kinds: dict[str, np.ndarray], dtype: Any, theta: Any, T: int
) -> dict[str, tuple[Any, np.ndarray]]:
    """Data on the device, and the exact gradient by backpropagation."""
    key = jax.random.split(jax.random.key(0), 1)
    exact = jax.jit(lambda data: summed_gradients(bptt(make(data), T))(theta, key, jnp.int32(1))[0])
    data = {kind: jnp.asarray(array, dtype) for kind, array in kinds.items()}
    return {kind: (each, np.asarray(exact(each), float)) for kind, each in data.items()}


def segment_jacobian(problem: Problem, theta: jax.Array, segments: int, T: int) -> np.ndarray:
    """G [M, M, P]: derivative of segment k's loss through the parameters of segment j."""

    def losses(thetas: jax.Array) -> jax.Array:
        def step(carry, t):
            carry, out = problem.step(None, thetas[t // (T // segments)], carry)
            return carry, out.loss

        each = jax.lax.scan(step, problem.init(None, theta), jnp.arange(T))[1]
        return each.reshape(segments, -1).sum(axis=1)

    return np.asarray(jax.jit(jax.jacrev(losses))(jnp.tile(theta, (segments, 1))), float)
