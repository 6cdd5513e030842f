"""The batched MuJoCo engine against Gymnasium, and what it promises about rows and threads."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from pes_rl.config import build_config
from pes_rl.envs.mujoco_engine import MujocoSimulator
from pes_rl.envs.simulator import SingleStep
from pes_rl.envs.tasks import TASKS
from pes_rl.particles.host import HostPopulation
from pes_rl.policies import make_policy
from pes_rl.policies.normalizer import Affine
from pes_rl.training.host import HostTrainer
from tests.tools.oracle import EngineBackend, make_env, record, replay


@pytest.mark.parametrize("name", TASKS)
def test_engine_steps_as_gymnasium(name):
    """20 random resets, random actions, until termination or 300 steps, to 1e-9."""
    env = make_env(TASKS[name])
    paths = [record(env, seed, 300) for seed in range(20)]
    replay(EngineBackend(TASKS[name], 20), paths)


def unroll(name: str, num_threads: int, segments: int = 4, num_pairs: int = 5) -> list:
    """Segments of random linear policies, restarting pairs as their episodes end."""
    task = TASKS[name]
    actions = MujocoSimulator(task, 1).action.size
    policy = make_policy("linear", task.observation_size, actions, ())
    simulator = MujocoSimulator(task, 2 * num_pairs, num_threads)
    population = HostPopulation(simulator, policy, num_pairs, 3)
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((num_pairs, 2, policy.num_params)).astype(np.float32)
    norm = Affine.identity(task.observation_size)
    restart, segments_out = np.ones(num_pairs, bool), []
    for _ in range(segments):
        rollout = population.unroll(theta, restart, np.full(num_pairs, 30), norm)
        restart = rollout.segment.ended.all(axis=1)
        segments_out.append(rollout)
    return segments_out


@pytest.mark.parametrize("name", ["Hopper", "Ant"])
def test_threads_do_not_change_bits(name):
    for one, two in zip(unroll(name, 1), unroll(name, 2), strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(a, b)


def test_pair_does_not_depend_on_its_neighbours():
    """Fewer pairs, hence other rows stepped together: the same first pairs."""
    many, few = unroll("Hopper", 2), unroll("Hopper", 2, num_pairs=2)
    for a, b in zip(many, few, strict=True):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_array_equal(x[:2], y)


def test_ended_members_cost_no_steps():
    segments = [rollout.segment for rollout in unroll("Hopper", 2)]
    first = segments[0]
    assert first.ended.any() and (first.steps[first.ended] <= 30).all()
    for before, after in itertools.pairwise(segments):
        waiting = before.ended & ~before.ended.all(axis=1)[:, None]
        assert waiting.any()
        assert (after.steps[waiting] == 0).all() and (after.loss[waiting] == 0).all()


def make_trainer(**overrides) -> HostTrainer:
    options = {"env": "HalfCheetah", "estimator": "es-single", "num_pairs": 4, "segment_length": 20}
    options |= {"num_threads": 2, "eval_episodes": 2, **overrides}
    # Whole episodes: on HalfCheetah no pair restarts but where a simulation breaks down.
    options.setdefault("horizon", TASKS[options["env"]].horizon)
    return HostTrainer(build_config(options))


@pytest.mark.parametrize("breakdown", ["mujoco warning", "nan observation"])
def test_unstable_simulation_never_reaches_theta(breakdown):
    broken, healthy = make_trainer(), make_trainer()
    for trainer in (broken, healthy):
        trainer.advance()
    crew = broken.population.crew
    if breakdown == "mujoco warning":
        crew.simulator.fields["qvel"][3] = 1e15  # pair 1, minus member
    else:
        crew.observation[3] = np.nan
        crew.simulator.fields["qvel"][3] = np.nan
    (row,) = broken.advance()
    healthy.advance()
    assert row["train/invalid_particles"] == 1
    assert np.isfinite(broken.theta).all() and not np.array_equal(broken.theta, healthy.theta)
    assert np.isfinite(broken.normalizer.mean).all() and np.isfinite(broken.normalizer.m2).all()
    clock = broken.state().train.estimator.clock
    assert clock[1] == 0 and (clock[[0, 2, 3]] > 0).all()
    assert broken.advance()[0]["train/invalid_particles"] == 0
    assert np.isfinite(broken.theta).all()


def sabotage(simulator) -> None:
    """Let row 3 break down in the fifth env step of its episodes."""
    advance, clock = simulator.advance, simulator.batch.bind("time")
    seconds = simulator.task.frame_skip * simulator.model.opt.timestep

    def advance_or_break(rows, live, action):
        if round(clock[3] / seconds) == 4:
            simulator.fields["qvel"][3] = 1e15
        advance(rows, live, action)

    simulator.advance = advance_or_break


@pytest.mark.parametrize("breaks", [True, False])
@pytest.mark.parametrize("env", [name for name, task in TASKS.items() if not task.contact_forces])
def test_rewards_worked_out_later_have_the_same_bits(env, breaks):
    outcomes = []
    for together in (True, False):
        trainer = make_trainer(env=env)
        simulator = trainer.population.crew.simulator
        assert simulator.stretch(np.arange(8), 5).length == 5
        if breaks:
            sabotage(simulator)
        if not together:
            simulator.stretch = lambda rows, length, s=simulator: SingleStep(s, rows)
        invalid = [trainer.advance()[0]["train/invalid_particles"] for _ in range(3)]
        assert any(invalid) == breaks
        outcomes.append([invalid, *jax.tree.leaves(trainer.state())])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_observation_statistics_equal_a_plain_pass():
    """Merged moments against NumPy over every observation that a policy saw."""
    trainer, seen = make_trainer(env="Hopper", reward_shift=1, num_threads=1), []
    crew = trainer.population.crew
    step = crew.simulator.step

    def spy(rows, action):
        seen.append(crew_observation(rows))
        return step(rows, action)

    latest = {}

    def crew_observation(rows):
        return np.array([latest.get(r, crew.observation[r]) for r in rows])

    def recording(rows, action):
        out = spy(rows, action)
        latest.update({r: out.observation[i] for i, r in enumerate(rows)})
        return out

    restart = crew.restart

    def restarting(rows, rngs):
        restart(rows, rngs)
        for r in rows:
            latest.pop(r, None)

    crew.simulator.step, crew.restart = recording, restarting
    crew.simulator.stretch = lambda rows, length: SingleStep(crew.simulator, rows)
    for _ in range(12):
        trainer.advance()
    everything = np.concatenate(seen)
    assert trainer.normalizer.total == len(everything) == trainer.env_steps
    np.testing.assert_allclose(trainer.normalizer.mean, everything.mean(axis=0), rtol=1e-9)
    variance = trainer.normalizer.m2 / trainer.normalizer.total
    np.testing.assert_allclose(variance, everything.var(axis=0), rtol=1e-9)


def test_control_that_is_not_finite_ends_the_member():
    """MuJoCo replaces such a control by zero, so the observation alone would look healthy."""
    simulator = MujocoSimulator(TASKS["HalfCheetah"], 3)
    simulator.reset(np.arange(3), [np.random.default_rng(i) for i in range(3)])
    action = np.zeros((3, 6))
    action[1, 2] = np.nan
    out = simulator.step(np.arange(3), action)
    np.testing.assert_array_equal(out.unstable, [False, True, False])


def test_reward_of_a_broken_step_is_not_counted():
    """MuJoCo resets a bad state by itself, which looks like a leap to the origin."""
    trainer = make_trainer(normalize_observations=False)
    trainer.advance()
    crew = trainer.population.crew
    crew.simulator.fields["qpos"][3, 0] = crew.simulator.tracked[3, 0] = -1000.0
    crew.simulator.fields["qvel"][3] = 1e15
    (row,) = trainer.advance()
    assert row["train/invalid_particles"] == 1
    assert abs(row["train/segment_return"]) < 500
