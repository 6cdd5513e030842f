"""What is said of presets is what their files and the list of environments say."""

from __future__ import annotations

import re

import pytest

from pes_rl.config import build_config
from pes_rl.config.sources import _SOURCES, preset_source
from pes_rl.envs.registry import OFFICIAL
from pes_rl.storage.files import as_path


@pytest.mark.parametrize("env", OFFICIAL)
def test_every_preset_has_a_source(env):
    config = build_config({"env": env})
    presets = as_path(__file__).parents[2] / "pes_rl" / "config" / "presets"
    comments = (presets / f"{env}.yaml").read_text().split("common:")[0]
    said = preset_source(config)
    # The default estimator's is what `pes-rl envs` speaks of; "tuned" there needs a search.
    assert OFFICIAL[env].tuned <= (said == "tuned")
    from_ars = re.search(r"Source: ARS|are ARS's", comments) is not None
    assert ("ARS" in said) == (from_ars and not OFFICIAL[env].tuned)


def test_what_differs_from_the_preset_is_counted():
    def said(**given):
        return preset_source(build_config({"env": "HalfCheetah", **given}))

    assert said(seed=3, num_env_steps=10, engine="mjx") == "tuned"
    assert said(estimator="gpes") == "tuned for es-single"
    assert said(learning_rate=1.0) == "tuned, 1 option changed"
    assert said(policy="mlp", num_pairs=3) == "tuned, 3 options changed"  # the mlp's sizes too
    assert preset_source(build_config({"env": "CartPole-v1"})) == "none"
    assert set(_SOURCES) == set(OFFICIAL)
