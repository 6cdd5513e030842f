"""A host engine's run spread over processes: each steps its own consecutive pairs on its own cores.

Losses of all pairs are exchanged, then every process computes the same differences. The weighted
sum of noise and the observation statistics are formed in fixed blocks of consecutive pairs that
are added in their order (`pes_rl.training.placement`), so they do not depend on how many processes
there are; theta, the optimiser and the normaliser are the same everywhere.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as Spec

from pes_rl.config import Config
from pes_rl.envs.make import make_simulator
from pes_rl.errors import UserError
from pes_rl.estimators import Segment
from pes_rl.particles.host import Population
from pes_rl.policies import Affine, Normalizer
from pes_rl.training.device import fetch, place
from pes_rl.training.host import Totals, Trainer, TrainerState
from pes_rl.training.learner import Learner, LearnerState, Outcome, Proposal, make_steps
from pes_rl.training.placement import AXIS, make_placement, summation_blocks
from pes_rl.training.processes import Processes, check_engine
from pes_rl.training.update import specs as device_specs

_PAIRS: Any = Spec(AXIS)
_EVERYWHERE: Any = Spec()


class SpreadTrainer(Trainer):
    """`Trainer` in several processes; the attributes and the results are the same on all of them.

    Raises:
      UserError: the pairs cannot be spread evenly over the processes, or the engine cannot save
        its environments.
    """

    def __init__(self, config: Config, processes: Processes):
        check_engine(config)
        self._processes, self.num_shares = processes, processes.size
        if config.num_pairs % processes.size:
            nearest = max(1, config.num_pairs // processes.size) * processes.size
            raise UserError(
                f"num_pairs {config.num_pairs} cannot be spread evenly over {processes.size} "
                f"processes; use --num-pairs {nearest}"
            )
        super().__init__(config)

    def _make_parts(self) -> tuple[Population, Learner]:
        config, processes = self.config, self._processes
        share = config.num_pairs // processes.size
        population = _Blocks(
            lambda n: make_simulator(config.env, config.engine, n, config.num_threads),
            self.policy,
            share,
            config.seed,
            config.reward_shift,
            config.normalize_observations,
            first_pair=processes.index * share,
        )
        population.blocks = summation_blocks(config.num_pairs, processes.size) // processes.size
        return population, _make_learner(config, processes)

    def _totals(
        self, segment: Segment, step_limit: np.ndarray, moments: Any, gained: np.ndarray
    ) -> Totals:
        counted = (segment.steps > 0) & ~segment.invalid
        columns = (
            segment.steps.sum(axis=1),
            2 * step_limit,
            counted.sum(axis=1),
            np.where(counted, gained, 0).sum(axis=1),
        )
        # One exchange: a row of statistics for each block, with the sums over its pairs in front.
        sums = np.stack(columns, axis=1).reshape(len(moments), -1, len(columns)).sum(axis=1)
        own = [
            np.concatenate([s, [m.total], m.mean, m.m2]) for s, m in zip(sums, moments, strict=True)
        ]
        table, size = self._processes.gather(np.array(own)), len(moments[0].mean)
        normalizer = self.normalizer
        for row in table:
            mean, m2 = row[5 : 5 + size], row[5 + size :]
            normalizer = normalizer.merge(Normalizer(int(row[4]), mean, m2))
        steps, slots, counted, gained = table[:, :4].sum(axis=0)
        return Totals(int(steps), int(slots), float(gained / max(counted, 1)), normalizer)

    def state(self) -> TrainerState:
        """What `Trainer.state` would be in one process; every process must call it."""
        with jax.enable_x64(True):
            learner = jax.tree.map(fetch, self._state)
        population = self._population.state()
        return TrainerState(
            learner=learner,
            normalizer=self.normalizer,
            population={name: self._processes.gather(x) for name, x in population.items()},
            counters=np.array((self.env_steps, self.updates), np.int64),
        )

    def restore(self, state: TrainerState) -> None:
        """Continue from what `state` returned, in as many processes or in others."""
        with jax.enable_x64(True):
            self._state = jax.tree.map(
                lambda now, saved: place(saved, now.sharding), self._state, state.learner
            )
        self.normalizer = state.normalizer
        self._population.restore({name: self._own(x) for name, x in state.population.items()})
        self.env_steps, self.updates = map(int, state.counters)

    def _own(self, rows: np.ndarray) -> np.ndarray:
        """This process's part of an array of all pairs or particles."""
        share = len(rows) // self._processes.size
        return rows[self._processes.index * share :][:share]


class _Blocks(Population):
    """A population that keeps the statistics of its blocks of consecutive pairs apart."""

    blocks = 1

    def _observed(self, tally: Any, segment: Segment, norm: Affine) -> Any:
        valid = ~segment.invalid.any(axis=1)
        block = np.arange(len(valid)) * self.blocks // len(valid)
        return [
            self._moments(tally, np.repeat(valid & (block == b), 2), norm)
            for b in range(self.blocks)
        ]


def _make_learner(config: Config, processes: Processes) -> Learner:
    """`pes_rl.training.learner.make_learner` with pairs spread over the processes."""
    mesh = processes.mesh
    steps = make_steps(config, config.horizon, make_placement(config.num_pairs, processes.size))
    specs = LearnerState(_EVERYWHERE, _EVERYWHERE, estimator=device_specs().estimator)
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, Spec)
    )

    def spread(step: Any, inputs: tuple, outputs: tuple) -> Any:
        return jax.jit(
            jax.shard_map(step, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
        )

    begin = jax.jit(steps.init, out_shardings=shardings)
    propose = spread(steps.propose, (specs,), ((_PAIRS,) * 3, specs))
    learn = spread(steps.learn, (specs, Segment(*[_PAIRS] * 4), _EVERYWHERE), (specs, _EVERYWHERE))
    pairs = NamedSharding(mesh, _PAIRS)

    def host_init(theta: np.ndarray) -> LearnerState:
        with jax.enable_x64(True):
            return begin(theta)

    def host_propose(state: LearnerState) -> tuple[Proposal, LearnerState]:
        with jax.enable_x64(True):
            proposal, state = propose(state)
        own = (np.asarray(x.addressable_shards[0].data) for x in proposal)
        return Proposal(*own), state

    def host_learn(state: LearnerState, segment: Segment, rate: float):
        with jax.enable_x64(True):
            everywhere = (jax.make_array_from_process_local_data(pairs, x) for x in segment)
            state, (norm, invalid, zero) = learn(state, Segment(*everywhere), np.float32(rate))
        return state, Outcome(float(norm), int(invalid), bool(zero))

    return Learner(host_init, host_propose, host_learn)
