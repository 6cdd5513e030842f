"""A training run on JAX devices: what `pes_rl.training.host.Trainer` is for engines on the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pes_rl.config import Config
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.make import make_jax_environment
from pes_rl.envs.registry import resolve
from pes_rl.errors import UserError
from pes_rl.particles.device import make_population
from pes_rl.particles.paired import DTYPES
from pes_rl.particles.scoring import make_scorer
from pes_rl.policies import Normalizer, make_policy
from pes_rl.training import memory
from pes_rl.training.compilation import use_compilation_cache
from pes_rl.training.host import Evaluation
from pes_rl.training.learner import make_estimator, make_optimizer
from pes_rl.training.placement import check_fit, make_mesh
from pes_rl.training.update import (
    DeviceState,
    Parts,
    Row,
    affine,
    init_state,
    make_advance,
    shardings,
)

_MOST_UPDATES = 20


class DeviceTrainerState(NamedTuple):
    """All that the next update depends on, as a tree of NumPy arrays; ``updates`` is int64."""

    device: DeviceState
    updates: np.ndarray


class DeviceTrainer:
    """Trains one policy. ``advance()`` makes several updates in one call of one program.

    Attributes:
      config: what was asked for.
      policy: the policy's description.
      action: the action space.
      environment: steps one particle.
      mesh: the devices, with one axis ``"pairs"``.
      env_steps: live member steps consumed so far.
      updates: updates made so far.
      updates_per_advance: updates of one ``advance``, the same throughout a run.
      num_shares: how many devices the pairs are spread over.
      exact_resume: True, a restored run continues bit for bit on the same devices.
      observation_shape: None, observations are flat.
      action_shape: None, actions are flat.

    Raises:
      UserError: the pairs cannot be spread evenly over the devices, or an update counts too many
        env steps.
    """

    exact_resume = True
    observation_shape = None
    action_shape = None

    def __init__(
        self,
        config: Config,
        mesh: Mesh | None = None,
        environment: JaxEnvironment | None = None,
        dtype: Any = np.float32,
    ):
        use_compilation_cache()
        self.config = config
        # Before the devices are looked up: an engine may have settings to make.
        self.environment = environment or make_jax_environment(
            config.env, config.engine, config.backend
        )
        self.mesh = make_mesh() if mesh is None else mesh
        self.num_shares = self.mesh.size
        check_fit(config.num_pairs, self.num_shares)
        if config.backend == "warp" and self.num_shares > 1:  # untried on several GPUs
            raise UserError(
                f"backend 'warp' runs on one device, not on {self.num_shares}; "
                "set CUDA_VISIBLE_DEVICES=0, or use --backend jax"
            )
        self.action = self.environment.action
        self.policy = make_policy(
            config.policy,
            self.environment.observation_size,
            self.action.size,
            config.hidden_sizes,
            config.activation,
        )
        self._parts = self._make_parts()
        self.updates_per_advance = updates_per_advance(config)
        self._dtype = np.dtype(dtype)
        theta = self.policy.init(config.seed).astype(dtype)
        begin = jax.jit(lambda theta: init_state(self._parts, theta))
        shapes = jax.eval_shape(begin, theta)
        self._shardings = _complete(shapes, shardings(self.mesh))
        self._summed = shapes.estimator.accumulator.size > 0
        with self._memory_errors():
            self._state: DeviceState = jax.jit(begin, out_shardings=self._shardings)(theta)
        self._advance: Any = None
        self._score: Any = None
        self.env_steps, self.updates = 0, 0

    def _make_parts(self) -> Parts:
        config = self.config
        length = config.segment_length or config.horizon
        if 2 * config.num_pairs * length >= 2**32:
            raise UserError(
                f"num_pairs {config.num_pairs} times {length} env steps is too much for one "
                f"update; use --num-pairs {2**31 // length - 1} or fewer"
            )
        population = make_population(
            self.environment,
            self.policy,
            config.num_pairs,
            length,
            config.perturb_std,
            reward_shift=config.reward_shift,
            watch=config.normalize_observations,
            chunk=chunk_size(config, self.mesh.size),
            dtype=DTYPES[config.precision],
        )
        estimator, optimizer = make_estimator(config, config.horizon), make_optimizer(config)
        return Parts(config, estimator, optimizer, population, self.environment.observation_size)

    @property
    def theta(self) -> np.ndarray:
        """Current parameters [P]."""
        return fetch(self._state.theta)

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the observations so far."""
        return jax.tree.map(fetch, self._state.statistics).to_normalizer()

    @property
    def prediction(self) -> memory.Bytes:
        """What the cost model says an update needs on each device."""
        return memory.predict(self._sizes())

    def _sizes(self) -> memory.Sizes:
        config = self.config
        return memory.measure(
            self.policy,
            self.environment,
            num_pairs=config.num_pairs,
            num_devices=self.mesh.size,
            chunk=chunk_size(config, self.mesh.size),
            segment_length=config.segment_length or config.horizon,
            summed=self._summed,
            watched=config.normalize_observations,
            dtype=self._dtype,
            weight_dtype=DTYPES[config.precision],
        )

    def compile(self, note: Callable[[str], None] | None = None) -> Any:
        """Compile the update unless that is done; ``note`` is told what it costs, line by line.

        Returns:
          The compiled program, whose ``cost_analysis()`` and ``memory_analysis()`` can be read.

        Raises:
          UserError: it does not fit into the devices' memory; the message says what to change.
        """
        if self._advance is None:
            note = note or (lambda line: None)
            predicted, start = self.prediction.total, time.perf_counter()
            devices = f"{self.mesh.size} x {self.mesh.devices.flat[0].device_kind}"
            note(f"compiling the update for {devices}, predicted {memory.text(predicted)} each")
            advance = make_advance(self._parts, self.mesh, self.updates_per_advance)
            program = jax.jit(advance, donate_argnums=0, out_shardings=(self._shardings, None))
            with self._memory_errors():
                compiled = program.lower(self._state).compile()
            used, seconds = memory.peak(compiled), time.perf_counter() - start
            note(f"compiled in {seconds:.1f} s, the update takes {memory.text(used)} each")
            memory.check(used, self._sizes(), self.mesh.devices.flat[0])
            self._advance = compiled
        return self._advance

    def _memory_errors(self) -> Any:
        return memory.explained(self._sizes, self.mesh.devices.flat[0])

    def advance(self) -> list[dict[str, Any]]:
        """Make some updates: a metrics row each, with ``env_steps``, ``update``, ``train/...``."""
        program = self.compile()
        with self._memory_errors():
            self._state, rows = program(self._state)
            rows = jax.tree.map(fetch, rows)
        table = [_metrics(Row(*values)) for values in zip(*rows, strict=True)]
        for values, steps in zip(table, rows.steps, strict=True):
            self.env_steps += int(steps)
            self.updates += 1
            values |= {"env_steps": self.env_steps, "update": self.updates}
        return table

    def evaluate(self) -> Evaluation:
        """Score the unperturbed policy on fresh episodes, seeded by the update they follow."""
        if self._score is None:
            horizon = resolve(self.config.env, self.config.engine).horizon or self.config.horizon
            self._score = make_scorer(
                self.environment,
                self.policy,
                self.config.seed,
                self.config.eval_episodes,
                horizon,
            )
        # Local copies, so that each process scores by itself or not at all.
        local = jax.tree.map(fetch, self._state._replace(estimator=None, population=None))
        norm = jax.tree.map(jnp.asarray, affine(self.config, local))
        returns, lengths = self._score(local.theta, norm, np.uint32(self.updates))
        return Evaluation(np.asarray(returns, np.float64), np.asarray(lengths))

    def state(self) -> DeviceTrainerState:
        """A copy of everything the next update depends on; every process must call it."""
        state: DeviceState = jax.tree.map(fetch, self._state)
        # Engines have containers of their own, of which files know nothing.
        leaves = tuple(jax.tree.leaves(state.population.environment))
        state = state._replace(population=state.population._replace(environment=leaves))
        return DeviceTrainerState(state, np.array(self.updates, np.int64))

    def restore(self, state: DeviceTrainerState) -> None:
        """Continue from what `state` returned, on the same devices or on others."""
        leaves = jax.tree.leaves(state.device)
        device = jax.tree.unflatten(jax.tree.structure(self._state), leaves)
        self._state = jax.tree.map(place, device, self._shardings)
        self.env_steps, self.updates = int(state.device.env_steps), int(state.updates)


def updates_per_advance(config: Config) -> int:
    """Updates between two looks of the host: up to an evaluation's distance, and at most 20."""
    segment = 2 * config.num_pairs * (config.segment_length or config.horizon)
    return min(max(config.eval_every // segment, 1), _MOST_UPDATES)


def chunk_size(config: Config, num_devices: int) -> int | None:
    """Pairs unrolled at a time: the largest divisor of a device's share within what is asked."""
    share = config.num_pairs // num_devices
    if config.particle_chunk is None or config.particle_chunk >= share:
        return None
    return next(size for size in range(config.particle_chunk, 0, -1) if share % size == 0)


def fetch(array: jax.Array) -> np.ndarray:
    """A copy on the host of the whole array, wherever its parts are."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.array(array)
    from jax.experimental import multihost_utils

    return np.array(multihost_utils.process_allgather(array, tiled=True))


def place(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """The array on devices; every process gives the whole of it and keeps its own part."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _complete(tree: Any, prefix: DeviceState) -> DeviceState:
    """A sharding for each leaf of ``tree`` from one for whole branches of it."""

    def spread(sharding: Any, branch: Any) -> Any:
        return jax.tree.map(lambda _: sharding, branch)

    def is_sharding(node: Any) -> bool:
        return isinstance(node, jax.sharding.Sharding)

    return jax.tree.map(spread, prefix, tree, is_leaf=is_sharding)


def _metrics(row: Row) -> dict[str, Any]:
    return {
        "train/segment_return": float(row.segment_return),
        "train/grad_norm": float(row.grad_norm),
        "train/live_fraction": int(row.steps) / int(row.slots),
        "train/invalid_particles": int(row.invalid_particles),
        "train/zero_updates": int(row.zero_update),
        "train/learning_rate": float(row.learning_rate),
    }
