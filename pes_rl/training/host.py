"""Training on a host engine: simulators step the particles, compiled functions do the rest.

One compiled call between two segments tells the update what happened and asks it what to run next.
In several processes each steps its own consecutive pairs (`pes_rl.training.programs`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from pes_rl import streams
from pes_rl.config import Config
from pes_rl.envs.make import available_threads, make_simulator
from pes_rl.envs.registry import OFFICIAL
from pes_rl.envs.simulator import OPAQUE, Simulator
from pes_rl.particles.crew import episode_rng, play
from pes_rl.particles.host import HostPopulation
from pes_rl.particles.workers import RemoteSimulator, Workers, can_leave, make_crew, widened
from pes_rl.policies import make_policy
from pes_rl.policies.normalizer import Affine, Normalizer
from pes_rl.training.backend import refuse_fork
from pes_rl.training.credit import configured_spacing
from pes_rl.training.placement import fetch
from pes_rl.training.processes import ALONE, Processes
from pes_rl.training.programs import check_share, make_programs, num_inputs
from pes_rl.training.protocol import Evaluation, TrainerState
from pes_rl.training.update import TrainState, begun_anew, start_seed

MakeSimulator = Callable[[int, int], Simulator | RemoteSimulator]


class HostTrainer:
    """Trains one policy. ``advance()`` is one segment of the population and one optimiser step.

    The attributes are those of `pes_rl.training.protocol.Trainer`, the same in all processes.
    """

    def __init__(
        self,
        config: Config,
        *,
        make_simulator: MakeSimulator | None = None,
        dtype: Any = np.float32,
        processes: Processes = ALONE,
    ):
        """A trainer before its first update.

        Args:
          config: what is asked for.
          make_simulator: ``(particles, threads) -> simulator``, instead of the configured one.
          dtype: of theta, the noise and all that is summed of it.
          processes: among whom the pairs are spread.

        Raises:
          UserError: the pairs cannot be spread evenly over the processes, or the engine cannot
            save its environments.
        """
        refuse_fork()
        share = check_share(config, processes)
        make = make_simulator or _configured(config)
        threads = config.num_threads or available_threads()
        with contextlib.ExitStack() as opened:
            scorer = opened.enter_context(contextlib.closing(make(config.eval_episodes, threads)))
            population = opened.enter_context(contextlib.closing(make(2 * share, threads)))
            size = num_inputs(config, scorer.observation_size)
            self.config, self.num_shares = config, processes.size
            self.action, self.exact_resume = scorer.action, scorer.exact
            # What is flattened in training is not for a saved policy.
            self.observation, self.action_shape = scorer.observation, scorer.action_shape
            self.policy = make_policy(
                config.policy, size, self.action.size, config.hidden_sizes, config.activation
            )
            self._scorer = make_crew(scorer, self.policy, config.eval_episodes)
            self._remarks = (*_detour(config), *scorer.remarks)
            self.population = HostPopulation(
                population,
                self.policy,
                share,
                config.seed,
                observe=config.normalize_observations,
                first_pair=processes.index * share,
                spacing=configured_spacing(config),
            )
            self._processes, self._programs = processes, make_programs(config, size, processes)
            self._begin(self._programs.init(self.policy.init(config.seed).astype(dtype)), 0)
            self._opened = opened.pop_all()

    def _begin(self, state: Any, updates: int) -> None:
        self._state, self._asked = state, self._programs.ask(state)
        self.broken_off = False
        self.env_steps, self.updates = int(fetch(state.env_steps)), updates

    @property
    def theta(self) -> np.ndarray:
        """Parameters [P] of the policy that is scored and saved."""
        return fetch(self._state.average)

    @property
    def normalizer(self) -> Normalizer:
        """Statistics of the observations so far."""
        return fetch(self._state.statistics).to_normalizer()

    def compile(self, note: Callable[[str], None]) -> None:
        """Compile what is not physics, by an update of nothing whose result is dropped."""
        for remark in self._remarks:
            note(remark)
        note("compiling the update")
        self._programs.turn(self._asked, self.population.blank())

    def advance(self) -> list[dict[str, Any]]:
        """Unroll one segment and update theta; the one metrics row of it."""
        request = self._programs.local(self._asked)
        self.broken_off = True  # until the segment has been told of
        rollout = self.population.unroll(*request)
        self._state, row, self._asked = self._programs.turn(self._asked, rollout)
        self.broken_off = False
        self.env_steps += int(row.steps)
        self.updates += 1
        return [{"env_steps": self.env_steps, "update": self.updates, **row.metrics()}]

    def evaluate(self, first: int = 0) -> Evaluation:
        """Score the unperturbed policy on fresh episodes, seeded by the update and their number."""
        rngs = [
            episode_rng(self.config.seed, streams.EVALUATION, first + i, self.updates)
            for i in range(self.config.eval_episodes)
        ]
        norm = Affine(*self._programs.local(self._asked).norm)
        return Evaluation(*play(self._scorer, self.theta, norm, self.config.episode_length, rngs))

    def state(self) -> TrainerState:
        """A copy of everything the next update depends on; every process must call it.

        Where an error has broken a segment off, it is as of the update before, and every pair is to
        begin a new episode.
        """
        gather, train = self._processes.gather, fetch(self._state)
        if self.broken_off:  # workers may have died, and nobody's episode goes on
            blank = {name: np.zeros_like(rows) for name, rows in self._saved.items()}
            train, own = self._restarted(train), blank | {"episodes": self.population.episodes}
        else:
            own = self._saved = self.population.state()
        if OPAQUE in own:  # of one length in all processes
            length = gather(np.full(1, own[OPAQUE][0].size)).max()
            own[OPAQUE] = widened(own[OPAQUE], int(length))
        population = {name: gather(rows) for name, rows in own.items()}
        return TrainerState(train, population, np.array(self.updates, np.int64))

    def restore(self, state: TrainerState) -> None:
        """Continue from what `state` returned, in as many processes or in others.

        Where the engine cannot restore its environments, every pair starts a new episode.
        """
        own = self._processes.own
        train = state.train if self.exact_resume else self._restarted(state.train)
        self.population.restore({name: own(rows) for name, rows in state.population.items()})
        self._begin(self._programs.restore(train), int(state.updates))

    def begin_anew(self, start: int) -> None:
        """Forget all that was learned; ``start`` is the number of this start, the first was 0."""
        theta = self.policy.init(start_seed(self.config.seed, start)).astype(self.theta.dtype)
        train = begun_anew(fetch(self._state), fetch(self._programs.init(theta)))
        self._begin(self._programs.restore(train), self.updates)

    def close(self) -> None:
        """Give back what the environments hold; it is used no more."""
        self._opened.close()

    def _restarted(self, train: TrainState) -> TrainState:
        """The state with all pairs' clocks as they were before the first episode."""
        fresh = fetch(self._programs.init(np.asarray(train.theta)).estimator)
        estimator = train.estimator._replace(clock=fresh.clock, limit=fresh.limit)
        return train._replace(estimator=estimator)


def _detour(config: Config) -> list[str]:
    """That one of the built-in tasks has left its engine, which nobody asked for by name."""
    environment = config.environment
    if environment.name not in OFFICIAL or "mujoco" in environment.engines:
        return []
    return [
        f"{environment.name} with these env_kwargs or wrappers is stepped by Gymnasium itself "
        "(engine gymnasium), which is slower"
    ]


def _configured(config: Config) -> MakeSimulator:
    """What makes the simulators of the configured environment.

    Gymnasium's are spread over worker processes, except those that a script defines itself, which
    no other process could import.
    """
    environment = config.environment
    workers: list[Workers] = []

    def make(particles: int, threads: int) -> Simulator | RemoteSimulator:
        if config.engine != "gymnasium" or threads == 1 or not can_leave(environment):
            return make_simulator(environment, config.engine, particles, threads)
        if not workers:
            most = max(config.num_particles, config.eval_episodes)
            workers.append(Workers(min(threads, most), environment))
        return RemoteSimulator(workers[0], particles)

    return make
