"""Policies that get the first numbers of an observation."""

from __future__ import annotations

import pytest

import pes_rl
from pes_rl.errors import UserError
from tests.tools.run_tools import arrays


def test_a_policy_that_gets_the_first_inputs_is_one_of_an_environment_with_no_others(tmp_path):
    fields = {"num_pairs": 2, "segment_length": 10, "horizon": 40, "num_env_steps": 400}
    bare = {"include_cfrc_ext_in_observation": False}
    some = pes_rl.train("Ant", run_dir=tmp_path / "some", num_inputs=27, **fields)
    none = pes_rl.train("Ant", run_dir=tmp_path / "none", env_kwargs=bare, **fields)
    assert arrays(some.path) == arrays(none.path)
    assert some.last_return == none.last_return
    policy = some.policy
    assert (policy.observation.size, policy.policy.observation_size) == (105, 27)
    assert pes_rl.evaluate(some, episodes=1)["episode_length_mean"] > 1  # in the official Ant
    with pytest.raises(UserError, match="num_inputs 106 is more than the 105 numbers of an obs"):
        pes_rl.train("Ant", run_dir=tmp_path / "more", num_inputs=106, **fields)
