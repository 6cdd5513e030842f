"""A training run in memory: one update after another, and everything needed to continue it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from pes_rl import streams
from pes_rl.config import Config
from pes_rl.envs.make import make_simulator
from pes_rl.envs.registry import resolve
from pes_rl.estimators import Segment
from pes_rl.particles.host import Crew, Population, episode_rng, play
from pes_rl.policies import Affine, Normalizer, make_policy
from pes_rl.training.learner import Learner, LearnerState, host_math, learning_rate, make_learner


class Evaluation(NamedTuple):
    """Returns [E] and lengths [E] of fresh episodes of the unperturbed policy."""

    returns: np.ndarray
    lengths: np.ndarray


class TrainerState(NamedTuple):
    """All that the next update depends on, as a tree of NumPy arrays."""

    learner: Any
    normalizer: Normalizer
    population: dict[str, np.ndarray]
    counters: np.ndarray


class Totals(NamedTuple):
    """What all pairs did in one segment.

    Attributes:
      steps: live member steps.
      slots: member steps up to the pairs' step limits; ended members make fewer.
      segment_return: mean return of the members that were live and stayed sound.
      normalizer: observation statistics, this segment included.
    """

    steps: int
    slots: int
    segment_return: float
    normalizer: Normalizer


class Trainer:
    """Trains one policy. ``update()`` is one segment of the population and one optimiser step.

    Attributes:
      config: what was asked for.
      policy: the policy's description.
      env_steps: live member steps consumed so far.
      updates: updates made so far.
    """

    num_shares = 1

    def __init__(self, config: Config):
        self.config = config
        probe = make_simulator(config.env, config.engine, config.eval_episodes, config.num_threads)
        self.action = probe.action
        # Arrays of more than one dimension are flattened in training, not for a saved policy.
        self.observation_shape = getattr(probe, "observation_shape", None)
        self.action_shape = getattr(probe, "action_shape", None)
        self.policy = make_policy(
            config.policy,
            probe.observation_size,
            probe.action.size,
            config.hidden_sizes,
            config.activation,
        )
        self._scorer = Crew(probe, self.policy, config.eval_episodes)
        self.exact_resume = probe.exact
        self._population, self._learner = self._make_parts()
        self._state: LearnerState = self._learner.init(self.policy.init(config.seed))
        self.normalizer = Normalizer.empty(probe.observation_size)
        # Scored over the task's own time limit, whatever the horizon of training.
        self._episode_length = resolve(config.env, config.engine).horizon or config.horizon
        self.env_steps, self.updates = 0, 0

    def _make_parts(self) -> tuple[Population, Learner]:
        config = self.config
        population = Population(
            lambda n: make_simulator(config.env, config.engine, n, config.num_threads),
            self.policy,
            config.num_pairs,
            config.seed,
            config.reward_shift,
            config.normalize_observations,
        )
        return population, make_learner(config, config.horizon)

    @property
    def theta(self) -> np.ndarray:
        """Current parameters [P]."""
        return np.asarray(self._state.theta)

    def update(self) -> dict[str, float]:
        """Unroll one segment and update theta; the ``train/`` values of its metrics row."""
        proposal, state = self._learner.propose(self._state)
        segment, moments, gained = self._population.unroll(
            proposal.theta,
            proposal.restart,
            proposal.step_limit,
            self._affine(),
        )
        rate = learning_rate(self.config, self.env_steps)
        self._state, outcome = self._learner.learn(state, segment, rate)
        totals = self._totals(segment, proposal.step_limit, moments, gained)
        self.normalizer = totals.normalizer
        self.env_steps += totals.steps
        self.updates += 1
        return {
            "train/segment_return": totals.segment_return,
            "train/grad_norm": outcome.grad_norm,
            "train/live_fraction": totals.steps / totals.slots,
            "train/invalid_particles": outcome.invalid_particles,
            "train/zero_updates": int(outcome.zero_update),
            "train/learning_rate": rate,
        }

    def _totals(
        self, segment: Segment, step_limit: np.ndarray, moments: Any, gained: np.ndarray
    ) -> Totals:
        counted = (segment.steps > 0) & ~segment.invalid
        return Totals(
            steps=int(segment.steps.sum()),
            slots=2 * int(step_limit.sum()),
            segment_return=float(gained[counted].mean()) if counted.any() else 0.0,
            normalizer=self.normalizer.merge(moments),
        )

    def compile(self, note: Callable[[str], None]) -> None:
        """Say what the first `update` begins with: it compiles what is not physics."""
        note("compiling the update")

    def advance(self) -> list[dict[str, float]]:
        """`update`, as the one metrics row that it makes: what a run calls on every engine."""
        values = self.update()
        return [{"env_steps": self.env_steps, "update": self.updates, **values}]

    def _affine(self) -> Affine:
        if self.config.normalize_observations:
            return self.normalizer.affine()
        return Affine.identity(self.policy.observation_size)

    def evaluate(self) -> Evaluation:
        """Score the unperturbed policy on fresh episodes, seeded by the update they follow."""
        episodes = range(self.config.eval_episodes)
        rngs = [
            episode_rng(self.config.seed, streams.EVALUATION, i, self.updates) for i in episodes
        ]
        returns, lengths = play(
            self._scorer, self.theta, self._affine(), self._episode_length, rngs
        )
        return Evaluation(returns, lengths)

    def state(self) -> TrainerState:
        """A copy of everything the next update depends on."""
        return TrainerState(
            learner=jax.tree.map(np.asarray, self._state),
            normalizer=self.normalizer,
            population=self._population.state(),
            counters=np.array((self.env_steps, self.updates), np.int64),
        )

    def restore(self, state: TrainerState) -> None:
        """Continue from what `state` returned.

        Where the engine cannot restore its environments, every pair starts a new episode.
        """
        with host_math():
            self._state = jax.tree.map(jax.numpy.asarray, state.learner)
            if not self.exact_resume:
                fresh = self._learner.init(self.theta).estimator
                inner = self._state.estimator._replace(clock=fresh.clock, limit=fresh.limit)
                self._state = self._state._replace(estimator=inner)
        self.normalizer = state.normalizer
        self._population.restore(state.population)
        self.env_steps, self.updates = map(int, state.counters)
