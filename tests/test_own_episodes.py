"""Scores where there is no official environment, and of episodes that break down anywhere."""

from __future__ import annotations

import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from pes_rl.cli.evaluate import _text
from pes_rl.evaluation import evaluate
from pes_rl.evaluation.noise import Noise
from pes_rl.evaluation.official import play_official
from pes_rl.evaluation.own import own_episodes, play_own
from pes_rl.evaluation.statistics import summarize
from pes_rl.evaluation.versions import scoring_versions
from pes_rl.particles.scoring import make_scorer
from pes_rl.policies import make_policy
from pes_rl.policies.normalizer import Affine, Normalizer
from pes_rl.storage.policy import load_policy, save_policy
from tests.tools.toy_environment import point_mass

MINE = "tests.tools.toy_environment:point_mass"
HORIZON = 130  # more than one call of the compiled program makes


def saved(folder, environment, gymnasium_id=None):
    """A random policy, loaded."""
    size, action = environment.observation_size, environment.action
    policy = make_policy("gru", size, action.size, (3,))
    theta = 0.01 * np.random.default_rng(1).standard_normal(policy.num_params)
    seen = Normalizer(100, np.full(size, 0.1), np.full(size, 50.0))
    engine = "jax" if gymnasium_id is None else "gymnasium"
    about = {"name": MINE, "gymnasium_id": gymnasium_id, "engine": engine, "horizon": HORIZON}
    save_policy(folder, policy, theta, seen, action, about, {})
    return load_policy(folder)


@pytest.fixture
def mass(tmp_path, monkeypatch):
    """A policy for a point mass whose episodes are of different lengths, some of them the limit."""
    environment = point_mass()
    monkeypatch.setattr("pes_rl.envs.make.make_jax_environment", lambda *_: environment)
    return saved(tmp_path, environment), environment


def test_episodes_are_those_of_the_saved_policy_one_after_the_other(mass, monkeypatch):
    policy, environment = mass
    monkeypatch.setattr("pes_rl.evaluation.own._AT_A_TIME", 4)  # 6 episodes in two batches
    returns, lengths, *_ = play_own(policy, 6, seed=5)
    assert lengths.max() == HORIZON and len(set(lengths)) > 2
    step = jax.jit(environment.step)
    for episode in range(6):
        state, observation = environment.reset(jax.random.key(5 + episode))
        total, length, memory, over = 0.0, 0, None, False
        while not over:
            action, memory = policy.predict(observation, memory)
            state, out = step(state, action)
            observation, total, length = out.observation, total + float(out.reward), length + 1
            over = bool(out.terminated) or length == HORIZON
        assert (total, length) == (pytest.approx(returns[episode], rel=1e-4), lengths[episode])


def test_noise_disturbs_compiled_episodes_by_their_seeds(mass, tmp_path):
    policy, _ = mass
    quiet, noise = play_own(policy, 3, 5), Noise(observation=0.5, action=0.5)
    found, seen = play_own(policy, 3, 5, noise), play_own(policy, 3, 5, Noise(0.5, 0.0))
    for one, other in ((found, seen), (seen, quiet), (found, quiet)):
        assert not np.isclose(one.returns, other.returns).any()
    again = evaluate(tmp_path, 2, 6, observation_noise=0.5, action_noise=0.5)
    assert again["per_episode"] == found.rows(5)[1:]


def test_a_recording_is_the_episode_that_is_scored(mass, tmp_path):
    policy, _ = mass
    for seed in (5, 7):
        start, *moments = own_episodes(policy, 1, seed)
        result = evaluate(tmp_path, episodes=1, seed=seed)
        assert not start.live.any() and start.reward == 0 and start.state.x.shape == (1,)
        assert all(moment.live.all() for moment in moments)
        assert result["episode_length_mean"] == len(moments)
        assert result["episode_return_mean"] == np.cumsum([m.reward[0] for m in moments])[-1]
        assert len({float(moment.state.x[0]) for moment in moments}) == len(moments)


def test_the_packages_that_a_score_depends_on_are_named():
    for name, package in (("playground/CheetahRun", "playground"), ("gymnax/X", "gymnax")):
        found = scoring_versions(name)
        assert {package, "jax"} <= found.keys()
    assert scoring_versions("mine:make").keys() == {"jax", "jaxlib", "numpy"}


# --- breaking down --------------------------------------------------------------------------------


def fragile():
    """Episodes that start to the left break down at their third step."""
    mass = point_mass()

    def reset(key):
        state, observation = mass.reset(key)
        return (state, state.x < 0, 0), observation

    def step(state, action):
        inner, left, made = state
        inner, out = mass.step(inner, action)
        breaks = left & (made == 2)
        return (inner, left, made + 1), out._replace(reward=jnp.where(breaks, jnp.inf, out.reward))

    return mass._replace(reset=reset, step=step)


def test_episodes_that_break_down_are_counted_and_have_no_return(tmp_path, monkeypatch):
    environment = fragile()
    monkeypatch.setattr("pes_rl.envs.make.make_jax_environment", lambda *_: environment)
    policy = saved(tmp_path, environment)
    returns, lengths, *_ = play_own(policy, 8, seed=0)
    broken = np.isnan(returns)
    assert 0 < broken.sum() < 8 and (lengths[broken] == 3).all() and lengths[~broken].min() > 3
    result = evaluate(tmp_path, episodes=8)
    assert (result["broken_episodes"], result["episodes"]) == (broken.sum(), 8)
    assert result["episode_return_mean"] == returns[~broken].mean()
    assert result["episode_length_mean"] == lengths[~broken].mean()
    assert f"{broken.sum()} broke down" in _text(result)
    assert [row["end"] == "broken" for row in result["per_episode"]] == broken.tolist()
    *_, last = own_episodes(policy, 1, seed=int(np.argmax(broken)))
    assert np.isnan(last.reward).all()


def test_training_scores_what_breaks_down_as_nothing():
    environment = fragile()
    policy = make_policy("linear", 3, 1, ())
    score = make_scorer(environment, policy, seed=0, episodes=8, horizon=20)
    norm = jax.tree.map(jnp.asarray, Affine.identity(3))
    returns, lengths = score(jnp.zeros(policy.num_params), norm, jnp.uint32(0), jnp.uint32(0))
    broken = np.isnan(returns)
    assert 0 < broken.sum() < 8
    assert np.array_equal(lengths, np.where(broken, 3, 20))


def test_nothing_is_left_where_all_broke_down():
    result = summarize(np.full(3, np.nan), np.full(3, 7))
    assert math.isnan(result["episode_return_mean"]) and result["episode_return_interval"] is None
    assert (result["broken_episodes"], result["episodes"]) == (3, 3)
    named = {"policy": "p", "environment": "e", "env_kwargs": {}, "seed": 0, "success_rate": None}
    named |= {"observation_noise": 0.0, "action_noise": 0.0, "threshold": 1.0, "solved": False}
    assert "episode return nan" in _text(result | named)


class Brittle(gymnasium.Env):
    """Observes what it is asked to, and breaks down in the way and in the episodes it is told."""

    observation_space = action_space = Box(-1, 1, (1,), np.float64)
    way = "reward"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.breaks = 0, seed is not None and seed % 2 == 1
        return np.zeros(1), {}

    def step(self, action):
        self.steps += 1
        broken = self.breaks and self.steps == 3
        observation = np.array([np.nan if broken and self.way == "observation" else 0.5])
        reward = np.inf if broken and self.way == "reward" else 1.0
        return observation, reward, False, False, {}


@pytest.mark.parametrize("way", ["reward", "observation"])
def test_official_episodes_break_down_too(tmp_path, monkeypatch, way):
    spec = EnvSpec("Brittle-v0", Brittle, max_episode_steps=10)  # pyright: ignore
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    monkeypatch.setattr(Brittle, "way", way)
    policy = saved(tmp_path, point_mass()._replace(observation_size=1), spec.id)
    assert play_official(policy, 3, 0)[1].tolist() == [10, 3, 10]
    result = evaluate(tmp_path, episodes=5, seed=0)
    assert (result["broken_episodes"], result["episode_return_mean"]) == (2, 10)
    assert result["episode_length_mean"] == 10
