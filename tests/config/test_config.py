"""Configuration: every preset loads, sources win in the stated order, mistakes are named."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

import pytest
import yaml

from pes_rl.config import (
    ESTIMATOR_NAMES,
    OPTIONS,
    Config,
    build_config,
    change,
    load_config,
    parse_fields,
    save_config,
    validate,
)
from pes_rl.config.values import seconds
from pes_rl.envs.registry import OFFICIAL
from pes_rl.errors import UserError
from pes_rl.policies import KINDS, PolicyKind, kind_of, make_policy


def write(tmp_path, text, name="f.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("estimator", ESTIMATOR_NAMES)
@pytest.mark.parametrize("env", OFFICIAL)
def test_every_preset_loads_and_reloads_exactly(env, estimator, tmp_path):
    config = build_config({"env": env, "estimator": estimator})
    assert (config.env, config.estimator, config.engine) == (env, estimator, "mujoco")
    path = tmp_path / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config
    assert build_config({}, path) == config


@pytest.mark.parametrize("env", OFFICIAL)
def test_every_preset_s_own_choice_loads(env):
    config = build_config({"env": env})
    assert config == build_config({"env": env, "estimator": config.estimator})


def test_every_preset_belongs_to_a_task():
    from importlib.resources import files

    names = {p.name for p in files("pes_rl.config.presets").iterdir() if p.name.endswith(".yaml")}
    assert names == {f"{task}.yaml" for task in OFFICIAL}


def test_defaults_promised_by_the_design():
    config = build_config({"env": "CartPole-v1"})
    assert (config.estimator, config.policy, config.shaping, config.seed) == (
        "es-single",
        "linear",
        "std",
        0,
    )
    assert build_config({"env": "Swimmer"}).eval_every == 20_000
    # A preset may name a better estimator for its task.
    assert build_config({"env": "HalfCheetah"}).estimator == "pes"
    assert config.eval_every == 50_000
    assert all(option.help for option in OPTIONS.values())


def test_derived_values_are_not_saved(tmp_path):
    es = build_config({"env": "Humanoid", "estimator": "es", "num_pairs": 3, "horizon": 70})
    assert (es.unroll_length, es.num_particles, es.episode_length) == (70, 6, 1000)
    endless = {"env": "MountainCarContinuous-v0", "horizon": 9, "segment_length": 4}
    assert build_config(endless).unroll_length == 4
    save_config(es, tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()).keys() == OPTIONS.keys()


def test_every_kind_of_policy_can_be_configured():
    assert get_args(PolicyKind) == tuple(KINDS)
    for name, kind in KINDS.items():
        config = build_config({"env": "Humanoid", "policy": name})
        assert config.hidden_sizes == kind.hidden_sizes
        policy = make_policy(name, 3, 2, config.hidden_sizes, config.activation)
        assert (policy.observation_size, policy.action_size, kind_of(policy)) == (3, 2, name)
        assert policy.init(0).shape == (policy.num_params,)


def test_precedence(tmp_path):
    preset = build_config({"env": "Swimmer"})
    assert preset.normalize_observations is False  # over the default
    path = write(tmp_path, "env: Swimmer\nnum_pairs: 5\n")
    assert build_config({}, path).num_pairs == 5
    assert build_config({"num_pairs": "7"}, path).num_pairs == 7
    assert build_config({}, path).segment_length == preset.segment_length


def test_blocks_per_estimator_in_a_file(tmp_path):
    path = write(tmp_path, "common: {env: Humanoid, num_pairs: 3}\npes: {num_pairs: 4}\n")
    assert build_config({}, path).num_pairs == 3
    assert build_config({"estimator": "pes"}, path).num_pairs == 4
    chosen = write(
        tmp_path, "common: {env: Humanoid, estimator: pes}\npes: {num_pairs: 4}\n", "g.yaml"
    )
    assert build_config({}, chosen).num_pairs == 4


def test_a_choice_drops_what_lower_layers_meant_for_another(tmp_path):
    path = tmp_path / "config.yaml"
    save_config(build_config({"env": "Humanoid", "estimator": "gpes", "policy": "mlp"}), path)
    es = build_config({"estimator": "es", "policy": "linear"}, path)
    assert (es.segment_length, es.staggered, es.noise_period) == (None, False, None)
    assert es.hidden_sizes == ()
    save_config(es, path)
    pes = build_config({"estimator": "pes", "policy": "gru"}, path)
    assert (pes.segment_length, pes.staggered, pes.hidden_sizes) == (50, True, (64,))


@pytest.mark.parametrize("text", ["2e6", "2_000_000", "2000000", 2_000_000, 2e6])
def test_counts(text, tmp_path):
    assert build_config({"env": "Humanoid", "num_env_steps": text}).num_env_steps == 2_000_000
    path = write(tmp_path, f"env: Humanoid\nnum_env_steps: {text}\nlearning_rate: 1e-3\n")
    config = build_config({}, path)
    assert (config.num_env_steps, config.learning_rate) == (2_000_000, 1e-3)


@pytest.mark.parametrize("sizes", ["[8, 16]", "8 16", "8,16", (8, 16), [8.0, "16"]])
def test_hidden_sizes(sizes):
    config = build_config({"env": "Humanoid", "policy": "mlp", "hidden_sizes": sizes})
    assert config.hidden_sizes == (8, 16)


def test_intervals_are_env_steps_or_times():
    for text, interval, length in (
        ("2e5", 200_000, None),
        ("90s", "90s", 90),
        ("1.5h", "1.5h", 5400),
    ):
        config = build_config({"env": "Swimmer", "checkpoint_every": text})
        assert config.checkpoint_every == interval and seconds(interval) == length


def test_none_unsets_and_booleans_parse():
    config = build_config({"env": "Humanoid", "max_grad_norm": "none", "staggered": "False"})
    assert config.max_grad_norm is None and config.staggered is False
    assert parse_fields({"shaping": "none"}) == {"shaping": "none"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_env_steps", "2.5", "whole number"),
        ("num_env_steps", 2.5, "whole number"),
        ("num_pairs", True, "whole number"),
        ("num_pairs", "true", "whole number"),
        ("seed", "1e999999999", "whole number"),
        ("seed", "nan", "whole number"),
        ("seed", -1, "0 or more"),
        ("seed", 2**32, "2**32"),
        ("perturb_std", "nan", "finite"),
        ("perturb_std", "inf", "finite"),
        ("perturb_std", True, "finite number"),
        ("perturb_std", None, "finite number"),
        ("perturb_std", -0.1, "positive"),
        ("perturb_std", 0, "positive"),
        ("learning_rate", 0, "positive"),
        ("num_pairs", 0, "positive"),
        ("segment_length", 0, "positive"),
        ("segment_length", -5, "positive"),
        ("eval_every", 0, "positive"),
        ("num_threads", 0, "positive"),
        ("momentum", 1, "below 1"),
        ("hidden_sizes", "8 x", "whole number"),
        ("hidden_sizes", 8, "list"),
        ("staggered", "maybe", "true or false"),
        ("checkpoint_every", "10 days", "10min"),
        ("checkpoint_every", "0min", "10min"),
        ("checkpoint_every", 0, "positive"),
        ("keep_checkpoints", 1, "at least 2"),
        ("log_every", "10min", "whole number"),
        ("staggered", 1, "true or false"),
        ("shaping", "stdd", "did you mean 'std'"),
        ("estimator", "es-singel", "did you mean 'es-single'"),
        ("env", 5, "a name"),
        ("engine", "mujocco", "did you mean 'mujoco'"),
    ],
)
def test_bad_value_names_field_value_and_expectation(name, value, words):
    with pytest.raises(UserError) as caught:
        build_config({"env": "Humanoid", name: value})
    message = str(caught.value)
    assert name in message and words in message and str(value) in message


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"env": "Walker2d", "estimator": "es", "num_pairs": 8}, "num_top_pairs", 8),
        ({"env": "Reacher", "horizon": 8}, "segment_length", 8),
        ({"env": "Humanoid", "estimator": "gpes", "segment_length": 30}, "noise_period", 120),
        ({"env": "Humanoid", "estimator": "gpes", "segment_length": 600}, "noise_period", 600),
        ({"env": "CartPole-v1", "estimator": "gpes"}, "noise_period", 200),
    ],
)
def test_presets_and_defaults_yield_to_flags(given, field, value):
    """One flag must not turn somebody else's default into an error."""
    assert getattr(build_config(given), field) == value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"segment_length": 1001}, ("1001", "1000")),
        ({"segment_length": 60, "horizon": 40}, ("60", "40")),
        ({"horizon": 2000}, ("2000", "1000")),
        ({"estimator": "es", "segment_length": 1000}, ("segment_length", "'es'")),
        ({"estimator": "es", "staggered": True}, ("staggered", "'es'")),
        ({"estimator": "pes", "noise_period": 100}, ("noise_period", "gpes")),
        ({"estimator": "gpes", "segment_length": 30, "noise_period": 200}, ("200", "30")),
        ({"estimator": "gpes", "noise_period": 1050}, ("1050", "1000")),
        ({"num_top_pairs": 9, "num_pairs": 8}, ("9", "8")),
        ({"schedule_env_steps": 1000}, ("schedule_env_steps", "cosine")),
        ({"optimizer": "adam", "momentum": 0.9}, ("momentum", "sgd")),
        ({"hidden_sizes": (8,)}, ("hidden_sizes", "mlp")),
        ({"policy": "gru", "hidden_sizes": (8, 8)}, ("gru", "one size")),
        ({"policy": "mlp", "hidden_sizes": (0,)}, ("hidden_sizes", "positive")),
        ({"pertub_std": 1}, ("'pertub_std'", "'perturb_std'")),
    ],
)
def test_contradictions(given, words):
    with pytest.raises(UserError) as caught:
        build_config({"env": "Humanoid", "estimator": "es-single", **given})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_schedule_ends_at_the_budget_unless_told_otherwise(tmp_path):
    given = {"env": "Humanoid", "learning_rate_schedule": "cosine", "num_env_steps": 5_000}
    config = build_config(given)
    assert config.schedule_env_steps == 5_000
    save_config(config, tmp_path / "config.yaml")
    extended = change(load_config(tmp_path / "config.yaml"), {"num_env_steps": 9_000})
    assert (extended.num_env_steps, extended.schedule_env_steps) == (9_000, 5_000)
    assert build_config(given | {"schedule_env_steps": 7_000}).schedule_env_steps == 7_000
    # The preset's own end is no default, and can be unset.
    hopper = {"env": "Hopper", "num_env_steps": 1_000}
    assert build_config(hopper).schedule_env_steps == 4_000_000
    assert build_config(hopper | {"schedule_env_steps": "none"}).schedule_env_steps == 1_000
    begun = change(build_config({"env": "Humanoid"}), {"learning_rate_schedule": "linear"})
    assert begun.schedule_env_steps == begun.num_env_steps


def test_validate_guards_configurations_made_directly():
    config = build_config({"env": "Humanoid"})
    with pytest.raises(UserError, match="perturb_std"):
        validate(dataclasses.replace(config, perturb_std=math.nan))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("env: Humanoid\nlearning_rat: 1\n", "'learning_rat' in {}; did you mean 'learning_rate'?"),
        (
            "env: Humanoid\nes_single: {num_pairs: 4}\n",
            "'es_single' in {}; did you mean 'es-single'?",
        ),
        ("env: Humanoid\npes: {num_pair: 4}\n", "'num_pair' in {}; did you mean 'num_pairs'?"),
        ("env: Humanoid\nestimator: pess\n", "{}: estimator must be one of"),
        ("env: Humanoid\nnum_pairs: 2.5\n", "{}: num_pairs must be a whole number, not '2.5'"),
        ("env: Humanoid\nperturb_std: .nan\n", "{}: perturb_std must be a finite number"),
        ("env: Humanoid\nperturb_std:\n", "{}: perturb_std must be a finite number"),
        ("env: Humanoid\nnum_pairs: {a: 1}\n", "{}: num_pairs must be a whole number"),
        ("env: Humanoid\nseed: 1\nseed: 2\n", "{} gives 'seed' more than once"),
        ("env: Humanoid\npes: {seed: 1, seed: 2}\n", "{} gives 'seed' more than once"),
        ("env: Humanoid\npes: 3\n", "{}: 'pes' must hold keys"),
        ("pes: {estimator: es}\n", "{}: the block 'pes' cannot choose"),
        ("- env\n", "{} must hold `key: value` lines"),
        ("env: [\n", "{} is not valid YAML (line"),
        ("num_pairs: 3\n", "no environment given"),
    ],
)
def test_bad_file_is_named(text, words, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        build_config({}, path)
    message = str(caught.value)
    assert words.format(path) in message
    assert len(message.splitlines()) <= 3


def test_unreadable_files(tmp_path):
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(UserError, match="cannot read"):
            build_config({}, path)


def test_a_run_configuration_must_be_complete(tmp_path):
    with pytest.raises(UserError, match="not a complete run configuration"):
        load_config(write(tmp_path, "env: Humanoid\n"))


def test_configuration_is_frozen():
    config = build_config({"env": "Humanoid"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(config, Config)


def test_files_that_would_take_hours_are_refused(tmp_path):
    lines = ["a: &a [x, x]", *(f"b{i}: &b{i} [*a, *a]" for i in range(9))]
    with pytest.raises(UserError, match=r"has the alias '\*a' \(line 2\); write its value out"):
        build_config({}, write(tmp_path, "\n".join(lines)))
    for text in ("[" * 100_000, "env_kwargs: " + "{a: " * 100_000, "- " * 100_000):
        with pytest.raises(UserError, match="is nested more than 50 deep"):
            build_config({}, write(tmp_path, text))


@pytest.mark.parametrize(
    "name", ["num_pairs", "eval_episodes", "num_threads", "hidden_sizes", "num_env_steps"]
)
def test_what_nothing_could_hold_is_refused(name):
    huge = "1e18" if name != "num_env_steps" else "9" * 5000
    with pytest.raises(UserError, match=f"^{name} must be ") as error:
        build_config({"env": "Hopper", "policy": "mlp", name: huge})
    assert len(str(error.value)) < 200
