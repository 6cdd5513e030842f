"""Saved policies act alone, exactly as in training, and damage is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.policies import make_policy
from pes_rl.policies.acting import act
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import array_of
from pes_rl.storage import policy as policy_io
from pes_rl.storage.policy import load_policy, save_policy

OBS, ACTS = 5, 3
BOX = ActionSpec("box", ACTS, (-1.0, -2.0, -np.inf), (1.0, 0.5, np.inf))
ENV = {"name": "Hopper", "gymnasium_id": "Hopper-v5", "engine": "mujoco"}


def normalizer(size: int, seed: int = 0) -> Normalizer:
    rng = np.random.default_rng(seed)
    return Normalizer(2**40, rng.standard_normal(size), 2**40 * rng.random(size))


def make(kind: str, observation_size=OBS, action_size=ACTS, hidden_sizes=(7, 4)):
    policy = make_policy(kind, observation_size, action_size, hidden_sizes)
    theta = np.random.default_rng(1).standard_normal(policy.num_params).astype(np.float32)
    return policy, theta


def save(folder, kind="linear", action=BOX, norm: Normalizer | None = None, **scores):
    policy, theta = make(kind)
    save_policy(folder, policy, theta, norm, action, ENV, scores)
    return policy, theta


@pytest.mark.parametrize("kind", ["linear", "linear-bias", "mlp", "gru"])
@pytest.mark.parametrize("norm", [None, normalizer(OBS)])
def test_round_trip(tmp_path, kind, norm):
    policy, theta = save(tmp_path, kind, norm=norm, episode_return_mean=1.5, std=np.float32(np.nan))
    loaded = load_policy(tmp_path)
    assert (loaded.policy, loaded.action, loaded.environment) == (policy, BOX, ENV)
    assert loaded.theta.dtype == np.float32
    assert np.array_equal(loaded.theta, theta)
    assert loaded.scores == {"episode_return_mean": 1.5, "std": None}
    assert loaded.versions["numpy"] == np.__version__
    assert "platform" not in loaded.versions  # nothing of the machine travels with a policy
    if norm is None:
        assert loaded.normalizer is None
    else:
        assert loaded.normalizer is not None
        assert flat(loaded.normalizer) == flat(norm)
    description = json.loads((tmp_path / "policy.json").read_text())
    assert description["policy"]["kind"] == kind
    assert description["environment"] == ENV
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]


def test_one_policy_is_one_file(tmp_path):
    # What safetensors hashes its names with differs from file to file, also within a process.
    files = set()
    for _ in range(8):
        save(tmp_path, norm=normalizer(OBS), env_steps=5)
        files.add((tmp_path / "policy.safetensors").read_bytes())
    assert len(files) == 1


def test_a_file_too_large_for_a_policy_is_not_read(tmp_path, monkeypatch):
    save(tmp_path)
    with (tmp_path / "policy.safetensors").open("r+b") as file:
        file.truncate(2**32)  # sparse: it takes no room on the disk
    with pytest.raises(UserError, match="has 4294967296 bytes, too many for a policy"):
        load_policy(tmp_path)
    monkeypatch.setattr(policy_io, "_LONGEST", 100)
    save(tmp_path)
    with pytest.raises(UserError, match="describes no policy: it has more than 100 letters"):
        load_policy(tmp_path)


def flat(norm: Normalizer) -> list[bytes]:
    return [np.asarray(part).tobytes() for part in norm]


SIZES = [(1, 1, (1,)), (3, 1, (5,)), (17, 6, (64, 64)), (8, 2, (33,)), (348, 17, (256, 256))]


@pytest.mark.parametrize("kind", ["linear", "linear-bias", "mlp", "gru"])
@pytest.mark.parametrize(("observation_size", "action_size", "hidden"), SIZES)
def test_rows_have_the_same_bits_alone_together_and_in_a_population(
    tmp_path, kind, observation_size, action_size, hidden
):
    policy, theta = make(kind, observation_size, action_size, hidden)
    theta = theta * np.float32(0.3)
    wide = (1e3,) * action_size
    action = ActionSpec("box", action_size, tuple(-w for w in wide), wide)
    norm = normalizer(observation_size)
    save_policy(tmp_path, policy, theta, norm, action, ENV, {})
    loaded = load_policy(tmp_path)
    rng = np.random.default_rng(2)
    for n in (1, 2, 7, 16):
        obs = rng.standard_normal((n, observation_size))
        state = rng.standard_normal((n, policy.state_size)).astype(np.float32)
        given = state if policy.state_size else None
        alone = [loaded.predict(obs[i], None if given is None else given[i]) for i in range(n)]
        # Layouts in memory must not matter either, nor where rows of a population lie.
        column_major = loaded.predict(np.asfortranarray(obs), given)
        backwards = loaded.predict(np.ascontiguousarray(obs[:, ::-1])[:, ::-1], given)
        thetas = np.empty((n + 1, policy.num_params + 1), np.float32)
        thetas[:] = np.append(theta, np.float32(0))
        population = policy.unpack(np.ascontiguousarray(thetas[1:, :-1]))
        trained = act(policy, action, population, norm.affine(), obs, state)
        for actions, states in (loaded.predict(obs, given), column_major, backwards, trained):
            assert actions.tobytes() == np.stack([a for a, _ in alone]).tobytes()
            if policy.state_size:
                assert np.asarray(states).tobytes() == np.stack([s for _, s in alone]).tobytes()  # pyright: ignore


def test_box_actions_are_clipped_float32(tmp_path):
    _, theta = save(tmp_path)
    loaded = load_policy(tmp_path)
    obs = 100 * np.random.default_rng(0).standard_normal((50, OBS))
    actions, state = loaded.predict(obs, state=None, episode_start=None, deterministic=True)
    assert state is None
    assert actions.dtype == np.float32
    assert actions.shape == (50, ACTS)
    # Without a normaliser observations reach the policy as they are, unclipped.
    expected = np.clip(obs @ theta.reshape(ACTS, OBS).T, BOX.low, BOX.high)
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-4)
    assert (actions[:, 0].min(), actions[:, 0].max()) == (-1, 1)
    assert loaded(obs[0]).shape == (ACTS,)
    assert np.array_equal(loaded(list(obs[0])), actions[0])


def test_discrete_actions_are_the_argmax(tmp_path):
    _, theta = save(tmp_path, action=ActionSpec("discrete", ACTS))
    loaded = load_policy(tmp_path)
    obs = np.random.default_rng(0).standard_normal((50, OBS))
    actions, _ = loaded.predict(obs)
    assert actions.dtype == np.int64
    assert np.array_equal(actions, (obs @ theta.reshape(ACTS, OBS).T).argmax(-1))
    single = loaded(obs[0])
    assert (single.shape, single.dtype, int(single)) == ((), np.int64, int(actions[0]))


def test_gru_state_is_zeroed_where_an_episode_starts(tmp_path):
    save(tmp_path, "gru")
    loaded = load_policy(tmp_path)
    obs = np.random.default_rng(0).standard_normal((2, OBS))
    first, state = loaded.predict(obs)
    again, next_state = loaded.predict(obs, state, episode_start=np.array([True, False]))
    assert state is not None
    assert next_state is not None
    assert state.shape == (2, 7)
    assert np.array_equal(again[0], first[0])
    assert np.array_equal(next_state[0], state[0])
    assert not np.array_equal(next_state[1], state[1])
    single, _ = loaded.predict(obs[0], state[0], episode_start=np.array([True]))
    assert np.array_equal(single, first[0])
    with pytest.raises(UserError, match=r"state shape: expected \(2, 7\), got \(7,\)"):
        loaded.predict(obs, state[0])
    with pytest.raises(UserError, match="episode_start"):
        loaded.predict(obs, state, np.array([True]))
    with pytest.raises(UserError, match="memory"):
        loaded(obs)


@pytest.mark.parametrize("shape", [(), (4,), (2, 6), (1, 2, OBS)])
def test_a_wrong_observation_shape_names_both(tmp_path, shape):
    save(tmp_path)
    with pytest.raises(UserError) as error:
        load_policy(tmp_path).predict(np.zeros(shape))
    expected = f"wrong observation: expected shape ({OBS},), got shape {shape}"
    assert str(error.value) == expected


@pytest.mark.parametrize("observation", [{"image": np.zeros(OBS)}, ([1.0], [1.0, 2.0]), "text"])
def test_observations_that_are_no_array_are_refused(tmp_path, observation):
    save(tmp_path)
    with pytest.raises(UserError, match="wrong observation: "):
        load_policy(tmp_path).predict(observation)


def test_shapes_of_spaces(tmp_path):
    policy, theta = make("linear", 6, 4)
    box = ActionSpec("box", 4, (-9.0,) * 4, (9.0,) * 4)
    save_policy(tmp_path, policy, theta, None, box, ENV, {}, array_of((3, 2)), (2, 2))
    loaded = load_policy(tmp_path)
    obs = np.random.default_rng(0).standard_normal((5, 3, 2))
    actions = loaded(obs)
    assert (actions.shape, loaded(obs[0]).shape) == ((5, 2, 2), (2, 2))
    assert np.array_equal(loaded(obs.reshape(5, 6)), actions)
    for shape in [(2, 3), (2, 2), (5, 2, 3), (1, 5, 3, 2)]:
        with pytest.raises(UserError, match=r"expected shape \(3, 2\), got"):
            loaded(np.zeros(shape))
    save_policy(tmp_path, policy, theta, None, box, ENV, {}, array_of((2, 2)))
    with pytest.raises(UserError, match=r"shape \(2, 2\) does not hold 6 numbers; copy it again"):
        load_policy(tmp_path)


def test_a_folder_in_the_description_s_place_keeps_the_policy_that_was_there(tmp_path):
    policy, theta = make("linear", 4, 3)
    box = ActionSpec("box", 3, (-9.0,) * 3, (9.0,) * 3)
    save_policy(tmp_path, policy, theta, None, box, ENV, {})
    (tmp_path / "policy.json").unlink()
    (tmp_path / "policy.json").mkdir()
    with pytest.raises(UserError, match=r"policy\.json is a folder; move it"):
        save_policy(tmp_path, policy, 2 * theta, None, box, ENV, {})
    assert np.array_equal(load_policy(tmp_path).theta, theta)


def test_a_policy_may_get_the_first_numbers_of_an_observation(tmp_path):
    policy, theta = make("linear", 4, 3)
    box = ActionSpec("box", 3, (-9.0,) * 3, (9.0,) * 3)
    for folder, size in (("some", 6), ("all", 4)):
        save_policy(tmp_path / folder, policy, theta, None, box, ENV, {}, array_of((size,)))
    some, whole = load_policy(tmp_path / "some"), load_policy(tmp_path / "all")
    obs = np.random.default_rng(0).standard_normal((5, 6))
    assert np.array_equal(some(obs), whole(obs[:, :4]))
    with pytest.raises(UserError, match=r"expected shape \(6,\), got shape \(5, 4\)"):
        some(obs[:, :4])


def test_files_that_are_no_policy(tmp_path):
    from safetensors.numpy import save_file

    model = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3)}, model, metadata={"format": "np"})
    (tmp_path / "model.zip").write_bytes(b"PK")
    for file in (model, tmp_path / "model.zip"):
        with pytest.raises(UserError, match=f"{file.name} is no policy.*give a run") as error:
            load_policy(file)
        assert "\n" not in str(error.value)
    _, theta = save(tmp_path)
    renamed = (tmp_path / "policy.safetensors").rename(tmp_path / "hopper.safetensors")
    assert np.array_equal(load_policy(renamed).theta, theta)


def test_a_damaged_policy_names_the_other_one_of_its_run(tmp_path):
    for name in ("best", "last"):
        save(tmp_path / "policy" / name)
    (tmp_path / "policy" / "best" / "policy.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"damaged.*; load .*policy/last instead"):
        load_policy(tmp_path)
    (tmp_path / "policy" / "last" / "policy.safetensors").unlink()
    with pytest.raises(UserError, match=r"damaged.*; copy or save it again"):
        load_policy(tmp_path)


def test_a_run_means_its_best_policy_else_its_last(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    with pytest.raises(UserError, match="has saved no policy yet"):
        load_policy(run)
    save(run / "policy" / "last", which="last")
    assert load_policy(run).scores == {"which": "last"}
    save(run / "policy" / "best", which="best")
    assert load_policy(str(run)).scores == {"which": "best"}
    assert load_policy(run / "policy" / "last").scores == {"which": "last"}
    assert load_policy(run / "policy" / "last" / "policy.safetensors").path.name == "last"
    with pytest.raises(UserError, match=r"does not exist; did you mean '.*run'\?"):
        load_policy(tmp_path / "rum")
    with pytest.raises(UserError, match=r"no policy\.safetensors in"):
        load_policy(tmp_path)


def test_damage_anywhere_is_noticed(tmp_path):
    save(tmp_path, norm=normalizer(OBS))
    file = tmp_path / "policy.safetensors"
    data = file.read_bytes()
    bad = [b"", data[: len(data) // 2], data[:-1], data + b"\0", b"not a policy"]
    for i in range(0, len(data), 3):
        changed = bytearray(data)
        changed[i] ^= 1 << (i // 3 % 8)
        bad.append(bytes(changed))
    for contents in bad:
        file.write_bytes(contents)
        with pytest.raises(UserError, match=r"policy\.safetensors is damaged") as error:
            load_policy(tmp_path)
        assert "\n" not in str(error.value)


def test_a_newer_schema_and_wrong_shapes(tmp_path, monkeypatch):
    monkeypatch.setattr(policy_io, "SCHEMA", 2)
    save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"policy schema 2 .* reads schema 1"):
        load_policy(tmp_path)
    policy, theta = make("linear")
    with pytest.raises(ValueError, match="theta must be"):
        save_policy(tmp_path, policy, theta[1:], None, BOX, ENV, {})
    save_policy(tmp_path, policy, theta, normalizer(OBS + 1), BOX, ENV, {})
    with pytest.raises(UserError, match=r"normalizer/mean has shape \(6,\), expected \(5,\)"):
        load_policy(tmp_path)


def test_a_full_disk_keeps_the_policy_that_was_there(tmp_path, monkeypatch):
    save(tmp_path, which="old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(UserError, match=r"cannot save the policy in .*No space"):
                save(tmp_path, which="new")
        assert load_policy(tmp_path).scores == {"which": "old"}
        assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot save the policy"):
        save(tmp_path / "file" / "best")


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "mujoco", "gymnasium", "optax", "pickle5"}:
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Refuse())
from pes_rl.storage.policy import load_policy
policy = load_policy(sys.argv[1])
action, state = policy.predict([0.5] * 5)
print(action.tobytes().hex())
"""


@pytest.mark.parametrize("kind", ["linear", "linear-bias", "mlp", "gru"])
def test_acts_without_jax_mujoco_and_gymnasium(tmp_path, kind):
    save(tmp_path, kind, norm=normalizer(OBS))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == load_policy(tmp_path).predict([0.5] * 5)[0].tobytes().hex()
