"""Observations and actions of any of Gymnasium's spaces."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from pes_rl.envs.gymnasium_spaces import action_spec, native, observation_spec
from pes_rl.policies.observation import ObservationSpec
from tests.tools.own_environments import Goal, samples


@pytest.mark.parametrize(
    "space",
    [
        Goal().observation_space,
        gymnasium.spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[1, 0], [0, -5]]),
        gymnasium.spaces.MultiBinary((2, 3)),
        gymnasium.spaces.Box(-1, 1, (2, 1, 3), np.float64),
        gymnasium.spaces.Dict(b=gymnasium.spaces.Discrete(2), a=Goal().observation_space),
    ],
)
def test_observations_are_flattened_as_gymnasium_does(space):
    spec = observation_spec(space, "test")
    for sample in samples(space):
        np.testing.assert_array_equal(spec.flatten(sample), gymnasium.spaces.flatten(space, sample))
    assert ObservationSpec.from_description(spec.describe()) == spec
    assert spec.size == gymnasium.spaces.flatdim(space)


@pytest.mark.parametrize(
    ("space", "some"),
    [
        (gymnasium.spaces.MultiDiscrete([3, 4, 2], start=[1, 5, -1]), [[1, 5, 0], [3, 8, -1]]),
        (gymnasium.spaces.MultiBinary(3), [[0, 0, 0], [1, 1, 1]]),
        (gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float64), [[0.0, 0.0]]),
        (gymnasium.spaces.Box(np.array([5, -np.inf]), np.array([35, 2.0])), [[20, 0]]),
    ],
)
def test_actions_lie_in_the_space_and_reach_all_of_it(space, some):
    jnp = pytest.importorskip("jax.numpy")
    spec = action_spec(space, "test")
    outputs = np.random.default_rng(0).standard_normal((400, spec.size)).astype(np.float32)
    actions = spec.to_action(np, np.concatenate((outputs, 1e9 * outputs)))
    assert all(space.contains(native(space, action)) for action in actions)
    np.testing.assert_allclose(spec.to_action(jnp, outputs), actions[:400], rtol=1e-6)
    for wanted in some:
        assert spec.kind == "box" or (actions == wanted).all(axis=-1).any()
    if spec.kind == "box":
        middle = spec.to_action(np, np.zeros(spec.size, np.float32))
        np.testing.assert_array_equal(middle, some[0])
