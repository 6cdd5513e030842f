"""Training on JAX devices: ask, unroll and tell as one program, several updates at a time.

Several updates are a scan inside it, so nothing returns to Python before their metrics do. On
several devices the whole of it runs under `jax.shard_map`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pes_rl.baselines import BASELINES
from pes_rl.config import Config
from pes_rl.envs.jax_environment import JaxEnvironment, first_inputs
from pes_rl.envs.make import make_jax_environment
from pes_rl.errors import UserError
from pes_rl.particles.device import DevicePopulation, make_population
from pes_rl.particles.lanes import Scores
from pes_rl.particles.paired import DTYPES
from pes_rl.particles.scoring import make_scorer
from pes_rl.policies import make_policy
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import array_of
from pes_rl.runtime import collecting_later
from pes_rl.training import memory
from pes_rl.training.backend import refuse_fork
from pes_rl.training.compilation import use_compilation_cache
from pes_rl.training.credit import configured_spacing
from pes_rl.training.device_program import (
    DeviceState,
    chunk_size,
    make_advance,
    shardings,
    updates_per_advance,
)
from pes_rl.training.lanes import lane_metrics, make_watch
from pes_rl.training.placement import (
    check_fit,
    complete,
    distribute,
    fetch,
    make_mesh,
    make_placement,
)
from pes_rl.training.programs import num_inputs
from pes_rl.training.protocol import Evaluation, TrainerState
from pes_rl.training.update import (
    Row,
    affine,
    begun_anew,
    make_update,
    start_seed,
)

_MUCH = 100e6  # bytes of memory that are worth a word


class DeviceTrainer:
    """Trains one policy. ``advance()`` makes several updates in one call of one program.

    Attributes:
      config: what was asked for.
      policy: the policy's description.
      action: the action space.
      environment: steps one particle.
      mesh: the devices, with one axis ``"pairs"``.
      device_state: all that the next update depends on, on the devices; `advance` takes it over.
      env_steps: live member steps consumed so far.
      updates: updates made so far.
      updates_per_advance: updates of one ``advance``, the same throughout a run.
      num_shares: how many devices the pairs are spread over.
      exact_resume: True, a restored run continues bit for bit on the same devices.
      observation: the observation space, flat.
      action_shape: shape of an action.
      broken_off: False, an update happens or does not.

    Raises:
      UserError: the pairs cannot be spread evenly over the devices, or an update counts too many
        env steps.
    """

    exact_resume = True
    broken_off = False

    @collecting_later()
    def __init__(
        self,
        config: Config,
        mesh: Mesh | None = None,
        environment: JaxEnvironment | None = None,
        dtype: Any = np.float32,
    ):
        refuse_fork()
        use_compilation_cache()
        self.config = config
        # Before the devices are looked up: an engine may have settings to make.
        whole = environment or make_jax_environment(
            config.environment, config.engine, config.backend
        )
        inputs = num_inputs(config, whole.observation_size)
        self.environment = first_inputs(whole, inputs)
        self.mesh = make_mesh() if mesh is None else mesh
        self.num_shares = self.mesh.size
        check_fit(config.num_pairs, self.num_shares)
        if config.backend == "warp" and self.num_shares > 1:  # untried on several GPUs
            raise UserError(
                f"backend 'warp' runs on one device, not on {self.num_shares}; "
                "set CUDA_VISIBLE_DEVICES=0, or use --backend jax"
            )
        self.observation = array_of((whole.observation_size,))
        self.action = self.environment.action
        self.action_shape = self.action.shape
        self.policy = make_policy(
            config.policy,
            self.environment.observation_size,
            self.action.size,
            config.hidden_sizes,
            config.activation,
        )
        self._update = make_update(
            config,
            self.environment.observation_size,
            make_placement(config.num_pairs, self.mesh.size),
        )
        self._population = self._make_population()
        self._watch = make_watch(config, self.environment, self.policy, self.mesh.size)
        self.updates_per_advance = updates_per_advance(config)
        self._dtype = np.dtype(dtype)
        theta = self.policy.init(config.seed).astype(dtype)

        def begin(theta: jax.Array) -> DeviceState:
            train, particles = self._update.init(theta), self._population.init(theta.dtype)
            return DeviceState(train, particles, self._watch.init(theta))

        shapes = jax.eval_shape(begin, theta)
        self._shardings = complete(shapes, shardings(self.mesh))
        self._summed = shapes.train.estimator.accumulator.size > 0
        with self._memory_errors():
            self._fresh = jax.jit(begin, out_shardings=self._shardings)
            self.device_state: DeviceState = self._fresh(theta)
        self._advance: Any = None
        self._score: Any = None
        self.env_steps, self.updates = 0, 0

    def _make_population(self) -> DevicePopulation:
        config, length = self.config, self.config.unroll_length
        if config.num_particles * length >= 2**32:
            raise UserError(
                f"num_pairs {config.num_pairs} times {length} env steps is too much for one "
                f"update; use --num-pairs {2**31 // length - 1} or fewer"
            )
        return make_population(
            self.environment,
            self.policy,
            config.num_pairs,
            length,
            config.perturb_std,
            observe=config.normalize_observations,
            chunk=chunk_size(config, self.mesh.size),
            dtype=DTYPES[config.precision],
            spacing=configured_spacing(config),
            horizon=config.horizon,
        )

    @property
    def theta(self) -> np.ndarray:
        """Parameters [P] of the policy that is scored and saved."""
        return fetch(self.device_state.train.average)

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the observations so far."""
        return fetch(self.device_state.train.statistics).to_normalizer()

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
            segment_length=config.unroll_length,
            summed=self._summed,
            observed=config.normalize_observations,
            waypoints=number + 1 if (number := configured_spacing(config).number) else 0,
            learning=BASELINES[config.baseline]().workspace(self.environment.observation_size),
            dtype=self._dtype,
            weight_dtype=DTYPES[config.precision],
        )

    @collecting_later()
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
            needed = f", predicted {memory.text(predicted)} each" if predicted >= _MUCH else ""
            note(f"compiling the update for {devices}{needed}")
            parts = self._update, self._population, self._watch
            advance = make_advance(*parts, self.mesh, self.updates_per_advance)
            program = jax.jit(advance, donate_argnums=0, out_shardings=(self._shardings, None))
            with self._memory_errors():
                compiled = program.lower(self.device_state).compile()
            used, seconds = memory.peak(compiled), time.perf_counter() - start
            taken = f", the update takes {memory.text(used)} each" if used >= _MUCH else ""
            note(f"compiled in {seconds:.1f} s{taken}")
            if self.config.backend == "warp":
                note("the first update loads Warp's kernels; the first time it compiles them")
            memory.check(used, self._sizes(), self.mesh.devices.flat[0])
            self._advance = compiled
        return self._advance

    def _memory_errors(self) -> Any:
        return memory.explained(self._sizes, self.mesh.devices.flat[0])

    def advance(self) -> list[dict[str, Any]]:
        """Make some updates: a metrics row each, with ``env_steps``, ``update``, ``train/...``."""
        program = self.compile()
        with self._memory_errors():
            self.device_state, rows = program(self.device_state)
            rows = fetch(rows)
        each = (jax.tree.map(lambda x, i=i: x[i], rows) for i in range(self.updates_per_advance))
        return [self._row(*one) for one in each]

    def _row(self, row: Row, scores: Scores | tuple[()]) -> dict[str, Any]:
        self.env_steps += int(row.steps)
        self.updates += 1
        head = {"env_steps": self.env_steps, "update": self.updates}
        metrics = row.metrics()
        length = metrics["train/perturb_std"] * self.policy.num_params**0.5
        return head | metrics | lane_metrics(self.config, scores, length)

    def evaluate(self, first: int = 0) -> Evaluation:
        """Score the unperturbed policy on fresh episodes, seeded by the update and their number."""
        if self._score is None:
            self._score = make_scorer(
                self.environment,
                self.policy,
                self.config.seed,
                self.config.eval_episodes,
                self.config.episode_length,
            )
        # Local copies, so that each process scores by itself or not at all.
        theta, statistics = fetch(
            (self.device_state.train.average, self.device_state.train.statistics)
        )
        norm = jax.tree.map(jnp.asarray, affine(self.config, statistics))
        returns, lengths = self._score(theta, norm, np.uint32(self.updates), np.uint32(first))
        return Evaluation(np.asarray(returns, np.float64), np.asarray(lengths))

    def state(self) -> TrainerState:
        """A copy of everything the next update depends on; every process must call it."""
        train, population, lanes = fetch(self.device_state)
        # Engines have containers of their own, of which files know nothing.
        leaves = tuple(jax.tree.leaves(population.environment))
        population = population._replace(environment=leaves)
        if lanes:
            lanes = lanes._replace(players=tuple(jax.tree.leaves(lanes.players)))
        return TrainerState(train, population, np.array(self.updates, np.int64), lanes)

    def restore(self, state: TrainerState) -> None:
        """Continue from what `state` returned, on the same devices or on others."""
        leaves = jax.tree.leaves((state.train, state.population, state.lanes))
        arrays = jax.tree.unflatten(jax.tree.structure(self.device_state), leaves)
        self.device_state = jax.tree.map(distribute, arrays, self._shardings)
        self.env_steps, self.updates = int(state.train.env_steps), int(state.updates)

    def begin_anew(self, start: int) -> None:
        """Forget all that was learned; ``start`` is the number of this start, the first was 0."""
        theta = self.policy.init(start_seed(self.config.seed, start)).astype(self._dtype)
        state, fresh = self.state(), fetch(self._fresh(theta))
        lanes = fresh.lanes
        if lanes:  # a score belongs to one start alone
            lanes = lanes._replace(begun=state.lanes.begun)
        train = begun_anew(state.train, fresh.train)
        self.restore(state._replace(train=train, lanes=lanes))

    def close(self) -> None:
        """Nothing: what is on the devices goes with its last reference."""
