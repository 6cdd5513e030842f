"""A name is suggested where it may well have been meant, and not otherwise."""

from __future__ import annotations

import gymnasium
import pytest

from pes_rl.config import ESTIMATOR_NAMES, OPTIONS
from pes_rl.envs.registry import OFFICIAL
from pes_rl.errors import suggest

ENVIRONMENTS = [*OFFICIAL, *(f"{name}-v5" for name in OFFICIAL), *gymnasium.registry]
NO_KWARGS = [name for name in OPTIONS if name != "env_kwargs"]


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("Hoper", ENVIRONMENTS, "Hopper"),
        ("hopper-v4", [*OFFICIAL, "Hopper-v5"], "Hopper-v5"),
        ("CartPole", ENVIRONMENTS, "CartPole-v1"),
        ("es-singel", ESTIMATOR_NAMES, "es-single"),
        ("influence", ["influence-balancing", "variance"], "influence-balancing"),
        ("num_steps", OPTIONS, "num_env_steps"),
        ("Mine-v0", ENVIRONMENTS, None),
        ("Cat-v0", ["Ant-v0"], None),  # what is alike is the end, which says nothing
        ("dm_control/cheetah-run-v0", ENVIRONMENTS, None),
        ("env_kwargs", NO_KWARGS, None),
        ("ppo", ESTIMATOR_NAMES, None),
        ("anything", [], None),
    ],
)
def test_suggestions(name, known, meant):
    assert suggest(name, known) == (f"; did you mean '{meant}'?" if meant else "")
