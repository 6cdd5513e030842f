"""Brax's environments as we step them, against Brax's own objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.config import build_config, load_config, save_config
from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.envs.make import make_jax_environment
from pes_rl.envs.packages import import_quietly, old_brax
from pes_rl.envs.registry import BRAX, resolve
from pes_rl.errors import UserError
from pes_rl.evaluation import evaluate
from pes_rl.policies import make_policy
from pes_rl.storage.policy import load_policy, save_policy
from pes_rl.storage.saved_policy import SavedPolicy

EPISODES, HORIZON = 4, 200


def brax(name: str, backend: str):
    """Brax's own environment, without wrappers."""
    with old_brax():
        environments = import_quietly("brax.envs")
        return environments.get_environment(name.removeprefix("brax/"), backend=backend)


class Jitted:
    """An environment's functions of one particle, compiled once for this file."""

    def __init__(self, name: str, backend: str):
        self.environment = make_jax_environment(resolve(name), "brax", backend)
        self.reset, self.step = jax.jit(self.environment.reset), jax.jit(self.environment.step)


@pytest.fixture(scope="module")
def pendulum() -> Jitted:
    return Jitted("brax/inverted_pendulum", "spring")


def assert_equals_brax(
    ours: Jitted, name: str, backend: str, steps: int, lowest: float = -1.0
) -> np.ndarray:
    """The same resets, observations, rewards and ends under random actions; the ends [steps]."""
    theirs = brax(name, backend)
    reset, step = jax.jit(theirs.reset), jax.jit(theirs.step)
    key, ends = jax.random.key(3), []
    with old_brax():
        expected = reset(key)
        state, observation = ours.reset(key)
        np.testing.assert_array_equal(observation, expected.obs)
        for action in np.random.default_rng(0).uniform(lowest, 1, (steps, theirs.action_size)):
            expected = step(expected, jnp.float32(action))
            state, out = ours.step(state, jnp.float32(action))
            np.testing.assert_allclose(out.observation, expected.obs, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(out.reward, expected.reward, rtol=1e-5, atol=1e-6)
            assert bool(out.terminated) == bool(expected.done)
            ends.append(bool(out.terminated))
    return np.array(ends)


def test_a_terminating_environment_steps_as_brax_does(pendulum):
    ends = assert_equals_brax(pendulum, "brax/inverted_pendulum", "spring", 60, lowest=0.5)
    assert ends.any() and not ends.all()


def test_halfcheetah_steps_as_brax_does():
    ours = Jitted("brax/halfcheetah", "spring")
    assert not assert_equals_brax(ours, "brax/halfcheetah", "spring", 5).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brax/hopper", "brax/pusher"])
def test_other_environments_step_as_brax_does(name):
    backend = build_config({"env": name}).backend
    assert backend is not None
    assert_equals_brax(Jitted(name, backend), name, backend, 5)


def check_shapes(name: str, backend: str) -> JaxEnvironment:
    """A trace of reset and step: sizes of the table, and a state that keeps its shapes."""
    environment = make_jax_environment(resolve(name), "brax", backend)
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    action = jax.ShapeDtypeStruct((environment.action.size,), np.float32)
    after, out = jax.eval_shape(environment.step, state, action)
    assert observation.shape == out.observation.shape == (BRAX[name].observation_size,)
    assert environment.observation_size == BRAX[name].observation_size
    assert environment.action.size == BRAX[name].action_size
    assert jax.tree.structure(state) == jax.tree.structure(after)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after)
    )
    assert out.reward.shape == out.terminated.shape == () and out.terminated.dtype == bool
    return environment


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"), [(n, b) for n, env in BRAX.items() for b in env.backends["brax"]]
)
def test_every_environment_on_every_backend_has_the_tables_sizes(name, backend):
    check_shapes(name, backend)


def test_the_state_keeps_its_shapes():
    """So that it can be scanned; inverted_pendulum's own state does not, it gains an entry."""
    check_shapes("brax/inverted_pendulum", "spring")


# --- scoring --------------------------------------------------------------------------------------


def saved(folder: Path, environment: JaxEnvironment) -> SavedPolicy:
    """A random policy for the pendulum, as a run would save it."""
    policy = make_policy("gru", 4, 1, (3,))
    theta = 0.1 * np.random.default_rng(1).standard_normal(policy.num_params)
    about = {
        "name": "brax/inverted_pendulum",
        "gymnasium_id": None,
        "engine": "brax",
        "backend": "spring",
        "horizon": HORIZON,
    }
    save_policy(folder, policy, theta, None, environment.action, about, {})
    return load_policy(folder)


def test_a_policy_is_scored_on_its_own_engine(tmp_path, pendulum):
    """All episodes at once give what one after the other gives."""
    policy = saved(tmp_path, pendulum.environment)
    returns, lengths = np.zeros(EPISODES), np.zeros(EPISODES)
    for episode in range(EPISODES):
        state, observation = pendulum.reset(jax.random.key(5 + episode))
        memory, over = None, False
        while not over:
            action, memory = policy.predict(np.asarray(observation), memory)
            state, out = pendulum.step(state, action)
            observation = out.observation
            returns[episode] += float(out.reward)
            lengths[episode] += 1
            over = out.terminated or lengths[episode] == HORIZON
    assert lengths.min() < HORIZON and len(set(lengths)) > 1

    result = evaluate(tmp_path, episodes=EPISODES, seed=5)
    assert result["environment"] == "brax/inverted_pendulum"
    assert result["episode_return_mean"] == pytest.approx(returns.mean(), rel=1e-5)
    assert result["episode_return_std"] == pytest.approx(returns.std(), rel=1e-5)
    assert result["episode_length_mean"] == lengths.mean()
    assert "brax" in result["versions"] and result["version_changes"] == []


@pytest.mark.slow
def test_a_policy_is_rendered_on_its_own_engine(tmp_path, pendulum):
    from pes_rl.rendering.recording import record

    recording = record(saved(tmp_path, pendulum.environment), episode_seed=5)
    frames = len(recording.rewards) + 1
    assert recording.qpos.shape == (frames, recording.model.nq)
    assert recording.qvel.shape == (frames, recording.model.nv)
    assert recording.title == "brax/inverted_pendulum" and recording.dt > 0


# --- what can be asked for ------------------------------------------------------------------------


def test_defaults_of_a_brax_environment():
    config = build_config({"env": "brax/halfcheetah"})
    assert (config.engine, config.backend, config.horizon) == ("brax", "spring", 1000)
    assert resolve("brax/hopper").gymnasium_id is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"env": "brax/halfchetah"}, "did you mean 'brax/halfcheetah'?"),
        ({"env": "brax/HalfCheetah"}, "did you mean 'brax/halfcheetah'?"),
        ({"env": "brax/half_cheetah"}, "did you mean 'brax/halfcheetah'?"),
        ({"env": "brax/zzz"}, "Brax has brax/ant, "),
        ({"env": "brax/fast"}, "unknown environment 'brax/fast'"),
        ({"env": "brax/swimmer"}, "use --env Swimmer --engine mjx"),
        ({"env": "brax/ant", "backend": "sprng"}, "did you mean 'spring'?"),
        ({"env": "brax/ant", "backend": "jax"}, "no backend 'jax'"),
        ({"env": "brax/ant", "engine": "mujoco"}, "use --engine brax"),
    ],
)
def test_what_brax_does_not_have(options, words):
    with pytest.raises(UserError) as caught:
        build_config(options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_configuration_keeps_its_backend(tmp_path):
    path = tmp_path / "config.yaml"
    for options in ({"env": "brax/ant", "backend": "positional"}, {"env": "Swimmer"}):
        config = build_config(options)
        save_config(config, path)
        assert load_config(path) == config


def test_a_configuration_of_before_there_were_backends(tmp_path):
    config = build_config({"env": "Swimmer"})
    path = tmp_path / "config.yaml"
    save_config(config, path)
    kept = [line for line in path.read_text().splitlines() if not line.startswith("backend")]
    path.write_text("\n".join(kept))
    assert load_config(path) == config


def test_names_need_no_import():
    code = (
        "import sys; from pes_rl.config import build_config; build_config({'env': 'brax/ant'});"
        "assert not {'brax', 'jax', 'mujoco', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_brax_is_quiet_and_other_warnings_are_not(capsys):
    brax("brax/inverted_pendulum", "spring")
    assert capsys.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="something else"), old_brax():
        import warnings

        warnings.warn("something else", UserWarning, stacklevel=1)
