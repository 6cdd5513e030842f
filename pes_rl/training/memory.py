"""What an update costs: bytes and operations as functions of N, P, K and the environment's sizes.

The terms and the reasons for them are in `predict` and `operations`. Compiled programs know their
own figures (``compiled.memory_analysis()``, ``compiled.cost_analysis()``), against which tests hold
these.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, example_action
from pes_rl.errors import UserError
from pes_rl.particles.restarts import programs_in
from pes_rl.policies import Policy


class Sizes(NamedTuple):
    """What the cost of an update on one device depends on.

    Attributes:
      pairs: N / D, pairs on this device.
      chunk: pairs unrolled at a time.
      params: P.
      segment: K.
      observation: O, of the policy's inputs.
      particle: bytes that a particle carries: environment, observation, hidden state, flag.
      step: bytes of intermediate results of one env step of one particle, at most.
      item: bytes of one parameter.
      weight: bytes of one parameter in the policy's matrix products.
      unpacked: whether the policy's matrices are copies out of theta's layout or its precision.
      summed: whether the estimator sums noise over an episode.
      observed: whether observations are normalised.
      waypoints: where members are looked at for a baseline, M + 1; 0 without.
      learning: numbers that the baseline needs for each of its samples.
      devices: D.
    """

    pairs: int
    chunk: int
    params: int
    segment: int
    observation: int
    particle: int
    step: int
    item: int = 4
    weight: int = 4
    unpacked: bool = False
    summed: bool = False
    observed: bool = True
    waypoints: int = 0
    learning: int = 0
    devices: int = 1


class Bytes(NamedTuple):
    """Peak memory of an update on one device, by what takes it."""

    noise: int
    accumulator: int
    weights: int
    particles: int
    step: int
    sums: int
    waypoints: int
    parameters: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Operations(NamedTuple):
    """Floating-point operations of an update on one device, a baseline's apart."""

    policy: int
    physics: int
    noise: int
    gradient: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


_DRAW = 60  # operations per normal number: a block cipher's rounds, an inverse error function
_BLOCKS = 8


def predict(sizes: Sizes) -> Bytes:
    """Bytes at the peak, which is in the unroll.

    Noise and accumulator are per pair and updated in place. A layer's matrix of all pairs is a copy
    unless it is the whole of theta in its own precision. Particles are there twice, as what an env
    step reads and what it writes, and a third time where chunks are put together. Intermediate
    results of the physics exist for one chunk. A baseline learns from what all devices saw.
    """
    s, chunked = sizes, sizes.chunk < sizes.pairs
    particles = 2 * s.particle * (s.pairs + s.chunk + (s.pairs if chunked else 0))
    copies = s.chunk * s.params * s.weight if s.unpacked else 0
    if chunked:
        copies += s.chunk * s.params * s.item  # the chunk's own noise
    return Bytes(
        noise=s.pairs * s.params * s.item,
        accumulator=s.pairs * s.params * s.item if s.summed else 0,
        weights=copies,
        particles=particles,
        step=2 * s.chunk * s.step,
        sums=2 * s.pairs * s.observation * s.item if s.observed else 0,
        waypoints=_waypoints(s),
        parameters=(_BLOCKS + 4) * s.params * s.item,
    )


def _waypoints(s: Sizes) -> int:
    """What members saw on their way, here and gathered, and what a baseline makes of it."""
    members, gathered = 2 * s.pairs, s.devices if s.devices > 1 else 0
    seen = members * s.waypoints * (s.observation + 1) * (1 + gathered)
    return (seen + members * max(s.waypoints - 1, 0) * s.devices * s.learning) * s.item


def operations(sizes: Sizes, physics: int = 0) -> Operations:
    """A shared and an own product per particle and env step, draws, and one sum over pairs.

    ``physics`` are those of one env step of one particle, see `step_operations`.
    """
    particle_steps = 2 * sizes.pairs * sizes.segment
    return Operations(
        policy=particle_steps * 4 * sizes.params,
        physics=particle_steps * physics,
        noise=_DRAW * sizes.pairs * sizes.params,
        gradient=2 * sizes.pairs * sizes.params,
    )


def step_operations(environment: JaxEnvironment) -> int:
    """Floating-point operations of one env step as XLA counts them: a loop's body once."""
    lowered = jax.jit(environment.step).lower(*_step_arguments(environment))
    return int((lowered.cost_analysis() or {}).get("flops", 0))


def _step_arguments(environment: JaxEnvironment) -> tuple[Any, Any]:
    """Shapes of a state and an action."""
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    return state, example_action(environment, observation.dtype)


def measure(
    policy: Policy,
    environment: JaxEnvironment,
    *,
    num_pairs: int,
    num_devices: int,
    chunk: int | None,
    segment_length: int,
    summed: bool,
    observed: bool = True,
    waypoints: int = 0,
    learning: int = 0,
    dtype: Any = jnp.float32,
    weight_dtype: Any = None,
) -> Sizes:
    """The sizes of a population, found by tracing its environment's shapes."""
    state, action = _step_arguments(environment)
    item = jnp.dtype(dtype).itemsize
    inputs = environment.observation_size + policy.state_size
    whole = len(policy.unpack(jnp.zeros(policy.num_params))) == 1
    return Sizes(
        pairs=num_pairs // num_devices,
        chunk=chunk or num_pairs // num_devices,
        params=policy.num_params,
        segment=segment_length,
        observation=environment.observation_size,
        particle=_bytes(state) + inputs * item + 1,
        step=widest(jax.make_jaxpr(environment.step)(state, action).jaxpr),
        item=item,
        weight=jnp.dtype(weight_dtype or dtype).itemsize,
        unpacked=not whole or weight_dtype is not None,
        summed=summed,
        observed=observed,
        waypoints=waypoints,
        learning=learning,
        devices=num_devices,
    )


def widest(jaxpr: Any) -> int:
    """Most bytes of intermediate results that are needed at one time, in the order of the program.

    Compilers merge operations and so need less; those that they cannot merge decide.
    """
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if _is_variable(v)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if _is_variable(v)}
    ends: dict[int, int] = {}
    live = peak = 0
    for i, eqn in enumerate(jaxpr.eqns):
        inner = max(map(widest, programs_in(eqn.params)), default=0)
        for out in eqn.outvars:
            size = _bytes(out.aval)
            live += size
            end = last.get(out, i)
            ends[end] = ends.get(end, 0) + size
        peak = max(peak, live + inner)
        live -= ends.pop(i, 0)
    return peak


def _is_variable(atom: Any) -> bool:
    return not hasattr(atom, "val")


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def peak(program: Any) -> int:
    """Bytes that a compiled program holds at most, its arguments included."""
    found = program.memory_analysis()
    if found is None:  # not every backend knows
        return 0
    own = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return own + found.temp_size_in_bytes


def text(size: float) -> str:
    """``"1.5 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError


def capacity(device: Any) -> int | None:
    """Bytes of a device's memory; None where it does not tell (a CPU)."""
    with contextlib.suppress(Exception):  # an optional feature that backends refuse in many ways
        return (device.memory_stats() or {}).get("bytes_limit")
    return None


def advice(sizes: Sizes, room: int | None) -> str:
    """The flag to change, and to what, for an update that does not fit into ``room`` bytes."""
    room = room or predict(sizes).total // 2
    chunk = sizes.chunk
    while chunk > 1:
        chunk = max(d for d in range(1, chunk // 2 + 1) if sizes.pairs % d == 0)
        if predict(sizes._replace(chunk=chunk)).total <= 0.9 * room:
            return f"use --particle-chunk {chunk}"
    fewer = sizes
    while fewer.pairs > 1 and predict(fewer).total > 0.9 * room:
        pairs = fewer.pairs // 2
        fewer = sizes._replace(pairs=pairs, chunk=math.gcd(pairs, 64))
    return (
        f"use --num-pairs {fewer.pairs * sizes.devices} --particle-chunk {fewer.chunk}, "
        "or more devices"
    )


def refuse(sizes: Sizes, device: Any, used: int | None = None) -> UserError:
    """The error of an update that does not fit."""
    room, needed = capacity(device), used or predict(sizes).total
    has = f"of {text(room)} " if room else ""
    return UserError(
        f"out of memory on {device.device_kind}: one update of {sizes.pairs} pairs needs "
        f"about {text(needed)} {has}; {advice(sizes, room)}".replace(" ;", ";")
    )


def check(used: int, sizes: Sizes, device: Any) -> None:
    """Raise UserError if a program that needs ``used`` bytes cannot run on ``device``."""
    room = capacity(device)
    if room is not None and used > room:
        raise refuse(sizes, device, used)


@contextlib.contextmanager
def explained(sizes: Callable[[], Sizes], device: Any) -> Iterator[None]:
    """Turn a device's out-of-memory error into one that says what to change."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise refuse(sizes(), device) from error
