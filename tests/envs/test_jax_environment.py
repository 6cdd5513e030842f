"""Environments of other people inside JAX programs: what they must offer, and what is carried."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.envs.jax_environment import (
    JaxEnvironment,
    JaxTransition,
    check_environment,
    first_inputs,
)
from pes_rl.envs.jax_state import lean
from pes_rl.errors import UserError
from pes_rl.particles.restarts import restart, restart_block
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.checkpoint import flatten, load_latest, save_checkpoint, unflatten
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure, point_mass

SLACK = jnp.zeros((400, 1))
ACTION = ActionSpec("box", 1, (-1.0,), (1.0,))


class Gusty(NamedTuple):
    """A point mass in gusts of wind, which are drawn from a key that it carries."""

    mass: Any
    key: jax.Array


def settling() -> JaxEnvironment:
    """A start of it is worth hundreds of env steps."""
    mass = point_mass()

    def reset(key):
        state, observation = mass.reset(key)
        settled = jax.lax.scan(lambda s, push: (mass.step(s, push)[0], None), state, SLACK)[0]
        return jax.tree.map(lambda a, b: jnp.where(jnp.isnan(b), b, a), state, settled), observation

    return mass._replace(reset=reset)


def gusty(typed: bool) -> JaxEnvironment:
    calm = settling()

    def reset(key):
        state, observation = calm.reset(key)
        return Gusty(state, key if typed else jax.random.key_data(key)), observation

    def step(state, action):
        key, now = jax.random.split(state.key if typed else jax.random.wrap_key_data(state.key))
        mass, out = calm.step(state.mass, action + 0.3 * jax.random.normal(now))
        return Gusty(mass, key if typed else jax.random.key_data(key)), out

    return calm._replace(reset=reset, step=step)


def test_the_first_inputs_are_seen_and_no_others():
    whole, some = point_mass(), first_inputs(point_mass(), 1)
    check_environment(some, "some")
    key, push = jax.random.key(3), jnp.ones(1)
    (state, seen), (other, more) = some.reset(key), whole.reset(key)
    assert whole.observation_size > some.observation_size == 1 and seen == more[0]
    after, expected = some.step(state, push)[1], whole.step(other, push)[1]
    assert after.observation == expected.observation[0] and after.reward == expected.reward
    assert first_inputs(whole, whole.observation_size) == whole


# --- what is asked of one's own -------------------------------------------------------------------


def test_a_proper_environment_is_accepted():
    check_environment(point_mass(), "mine")
    check_environment(gusty(typed=True), "mine")
    assert point_mass().horizon is None


def returning(**changed: Any) -> JaxEnvironment:
    """Observes [2], with one thing other than it should be."""
    good = {
        "observation": jnp.zeros(2),
        "reward": jnp.zeros(()),
        "terminated": jnp.array(False),
        "state": {"x": jnp.zeros(3)},
        "start": jnp.zeros(2),
    }
    made = good | changed
    out = JaxTransition(made["observation"], made["reward"], made["terminated"])

    def reset(key):
        return good["state"], made["start"]

    return JaxEnvironment(reset, lambda state, action: (made["state"], out), 2, ACTION)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (point_mass, "mine is a function, not a JaxEnvironment"),
        (returning(start=jnp.zeros(3)), r"reset observes float32\[3\], not floats \[2\]"),
        (returning(observation=jnp.zeros(2, int)), r"step observes int32\[2\], not floats \[2\]"),
        (returning(reward=jnp.zeros(1)), r"step's reward is float32\[1\], not one float"),
        (returning(reward=None), "step's reward is a NoneType, not one float"),
        (returning(terminated=jnp.zeros(2, bool)), r"terminated is bool\[2\], not one bool"),
        (returning(state=jnp.zeros(3)), "another structure"),
        (
            returning(state={"x": jnp.zeros(2)}),
            r"state\['x'\] is float32\[3\] after reset, float32",
        ),
        (returning(state={"x": jnp.zeros(3, int)}), r"float32\[3\] after reset, int32\[3\] after"),
        (returning()._replace(reset=lambda key: jnp.zeros(2)), "reset must return two things"),
    ],
)
def test_others_are_refused_in_one_line(environment, words):
    with pytest.raises(UserError, match=words) as caught:
        check_environment(environment, "mine")
    assert "\n" not in str(caught.value)


# --- typed keys -----------------------------------------------------------------------------------


def test_keys_in_a_state_are_saved_and_restored_bit_for_bit(tmp_path):
    def start(typed: bool = True):
        return DeviceTrainer(configure(), environment=gusty(typed))

    straight, raw = start(), start(typed=False)
    first = straight.advance()
    save_checkpoint(tmp_path, straight.env_steps, flatten(straight.state()), {})
    rows = [straight.advance()[0] for _ in range(6)]  # with episodes that begin
    resumed = start()
    resumed.restore(unflatten(resumed.state(), load_latest(tmp_path).arrays))
    assert [resumed.advance()[0] for _ in range(6)] == rows
    assert [raw.advance()[0] for _ in range(7)] == [*first, *rows]
    final, raws = flatten(straight.state()), flatten(raw.state())
    for name, value in flatten(resumed.state()).items():
        np.testing.assert_array_equal(value, final[name], err_msg=name)
        np.testing.assert_array_equal(value, raws[name], err_msg=name)
    # The gusts differ between pairs, and the members of a pair meet the same ones.
    keys = final["population/environment/2"]
    np.testing.assert_array_equal(keys[:, 0], keys[:, 1])
    assert len(np.unique(keys[:, 0], axis=0)) == len(keys)


# --- carrying what matters ------------------------------------------------------------------------


def wordy() -> JaxEnvironment:
    """A mass whose state has much that nobody reads, and a push that counts two steps later."""

    def reset(key):
        x = jax.random.uniform(key)
        state = {"x": x, "next": 0, "later": jnp.zeros(()), "log": jnp.zeros(50), "key": key}
        return state, jnp.stack([x, x])

    def step(state, action):
        x = state["x"] + state["next"]
        after = {"x": x, "next": state["later"], "later": action[0]}
        after |= {"log": jnp.roll(state["log"], 1).at[0].set(x), "key": state["key"]}
        return after, JaxTransition(jnp.stack([x, x]), x, x > 3)

    return JaxEnvironment(reset, step, 2, ACTION, 7)


def test_only_what_later_steps_depend_on_is_carried():
    whole, slim = wordy(), lean(wordy(), "wordy")
    state, seen = slim.reset(jax.random.key(1))
    assert {name for name, leaf in state.items() if leaf is not None} == {"x", "next", "later"}
    assert state["next"].dtype == jnp.float32  # as a step would make it, not as the reset did
    check_environment(slim, "wordy")
    assert slim[2:] == whole[2:]
    full, first = whole.reset(jax.random.key(1))
    np.testing.assert_array_equal(seen, first)
    for push in (0.5, 0.25, -1.0, 0.75, 0.0):
        full, expected = whole.step(full, jnp.array([push]))
        state, out = slim.step(state, jnp.array([push]))
        jax.tree.map(np.testing.assert_array_equal, tuple(out), tuple(expected))


def test_a_state_that_changes_its_shape_is_refused():
    growing = wordy()._replace(
        step=lambda state, action: (
            {**state, "log": jnp.zeros(51)},
            JaxTransition(jnp.zeros(2), jnp.zeros(()), jnp.array(False)),
        )
    )
    with pytest.raises(UserError, match=r"growing: its state has \(50,\) .* \(51,\)"):
        lean(growing, "growing")


# --- restarts -------------------------------------------------------------------------------------


def test_costly_starts_are_made_for_those_that_restart():
    assert restart_block(point_mass(), 40, 50, 1000) == 40
    assert restart_block(settling(), 40, 50, 1000) == 2
    assert restart_block(settling(), 40, 1000, 1000) == 40
    assert restart_block(settling(), 3, 50, 1000) == 1


@pytest.mark.parametrize("block", [1, 3])
def test_restarts_in_blocks_are_those_at_once(block):
    keys = jax.random.split(jax.random.key(0), 7)
    old = {"a": jnp.arange(14.0).reshape(7, 2), "b": jnp.zeros((7, 2, 3), int)}

    def reset(key):
        return {"a": jax.random.uniform(key), "b": jax.random.randint(key, (3,), 0, 99)}

    in_blocks, at_once = (
        jax.jit(lambda chosen, size=size: restart(reset, chosen, keys, old, size))
        for size in (block, 7)
    )
    for chosen in ([], [4], [0, 2, 6], range(7)):
        mask = np.isin(np.arange(7), list(chosen))
        result, expected = in_blocks(mask), at_once(mask)
        jax.tree.map(np.testing.assert_array_equal, result, expected)
        assert (result["a"][~mask] == old["a"][~mask]).all()
        assert len(np.unique(result["a"][mask])) == mask.sum()  # one start for both members
