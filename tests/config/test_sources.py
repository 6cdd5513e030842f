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
    from_ars = re.search(r"Source: ARS|are ARS's", comments) is not None
    assert said == "tuned" or ("ARS" in said) == from_ars


def test_what_differs_from_the_preset_is_counted():
    def said(**given):
        return preset_source(build_config({"env": "HalfCheetah", **given}))

    assert said(seed=3, num_env_steps=10, engine="mjx") == "tuned"
    assert said(estimator="gpes") == "tuned for es-single"
    assert said(learning_rate=1.0) == "tuned, 1 option changed"
    assert said(policy="mlp", num_pairs=3) == "tuned, 3 options changed"  # the mlp's sizes too
    assert preset_source(build_config({"env": "CartPole-v1"})) == "none"
    assert set(_SOURCES) == set(OFFICIAL)


def test_a_gpu_has_a_preset_of_its_own(tmp_path):
    warp = {"env": "HalfCheetah", "engine": "mjx", "backend": "warp"}
    large = build_config(warp)
    assert (large.estimator, large.num_pairs, large.horizon) == ("es-single", 1024, 1000)
    assert large.eval_lanes and preset_source(large) == "set by hand on a seed, for a GPU"
    assert build_config(warp | {"num_pairs": 8}).perturb_std == large.perturb_std
    # It is one estimator's: another one has what it has on the CPU, and so has another backend.
    for other in ({"estimator": "pes"}, {"backend": "jax"}):
        small = build_config(warp | other)
        assert small.num_pairs == 12 and preset_source(small) == "tuned"
    # Has no block: its default estimator's preset is the CPU's.
    pusher = build_config(warp | {"env": "Pusher"})
    assert pusher.num_pairs == 16 and preset_source(pusher) == "set by hand on two seeds"
    # What a preset sets for all its estimators, but a GPU has other needs of, is overruled.
    hopper = build_config(warp | {"env": "Hopper"})
    assert (hopper.estimator, hopper.num_top_pairs, hopper.retry_after) == ("pes", None, None)
    assert build_config(warp | {"env": "Swimmer"}).eval_every == 2_000_000
    # A file's block does the same, whatever the estimator of its other values.
    file = tmp_path / "own.yaml"
    file.write_text("common: {estimator: es, num_pairs: 3}\nwarp: {estimator: pes, num_pairs: 5}")
    for flags, expected in ((warp, ("pes", 5)), ({"env": "HalfCheetah"}, ("es", 3))):
        own = build_config(flags, file)
        assert (own.estimator, own.num_pairs) == expected
    assert build_config(warp | {"estimator": "es"}, file).num_pairs == 3
