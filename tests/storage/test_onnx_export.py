"""A policy exported to ONNX acts like the policy."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.policies import make_policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import array_of
from pes_rl.storage.policy import load_policy, save_policy
from pes_rl.storage.saved_policy import SavedPolicy

OBS, ACTS = 5, 3
ENV = {"name": "Hopper", "gymnasium_id": "Hopper-v5", "engine": "mujoco"}
BOX = ActionSpec("box", ACTS, (-1.0, -2.0, -np.inf), (1.0, 0.5, np.inf))
CHOICE = ActionSpec("discrete", ACTS, start=4)
SEEN = Normalizer(1000, np.linspace(-3, 3, OBS), np.linspace(1e-9, 1000, OBS))


def saved(folder, kind, action=BOX, seen: Normalizer | None = SEEN, activation="tanh", size=OBS):
    policy = make_policy(kind, OBS, ACTS, (7,), activation)
    theta = 0.3 * np.random.default_rng(1).standard_normal(policy.num_params)
    save_policy(folder, policy, theta, seen, action, ENV, {}, array_of((size,)))
    return load_policy(folder)


def compare(policy: SavedPolicy, run) -> None:
    """``run(inputs) -> outputs`` against the policy, over steps that carry its memory."""
    rng = np.random.default_rng(0)
    for n in (1, 6):
        states = theirs = np.zeros((n, policy.policy.state_size), np.float32)
        for _ in range(4):
            obs = (5 * rng.standard_normal((n, policy.observation.size))).astype(np.float32)
            inputs = {"observation": obs}
            if policy.policy.state_size:
                inputs["state"] = theirs
            expected, states = policy.predict(obs, states)
            # The evaluator's product sometimes raises this flag for finite numbers.
            with np.errstate(invalid="ignore"):
                actions, *memory = run(inputs)
            assert actions.dtype == expected.dtype and actions.shape == expected.shape
            np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-4)
            assert bool(memory) == (states is not None)
            if memory:
                [theirs] = memory
                np.testing.assert_allclose(theirs, states, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("action", [BOX, CHOICE], ids=["box", "discrete"])
@pytest.mark.parametrize("seen", [None, SEEN], ids=["raw", "standardised"])
@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("linear", "tanh"),
        ("linear-bias", "tanh"),
        ("mlp", "tanh"),
        ("mlp", "relu"),
        ("gru", "tanh"),
    ],
)
def test_acts_like_the_policy(tmp_path, kind, activation, seen, action):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    policy = saved(tmp_path, kind, action, seen, activation, size=OBS + (seen is None))
    policy.to_onnx(tmp_path / "policy.onnx")
    evaluator = ReferenceEvaluator(str(tmp_path / "policy.onnx"))
    compare(policy, lambda inputs: evaluator.run(None, inputs))


@pytest.mark.parametrize("kind", ["linear", "gru"])
def test_in_onnx_runtime(tmp_path, kind):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    policy = saved(tmp_path, kind)
    policy.to_onnx(tmp_path / "policy.onnx")
    session = runtime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    compare(policy, lambda inputs: session.run(None, inputs))


def test_errors(tmp_path, monkeypatch):
    policy = saved(tmp_path, "linear")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        with pytest.raises(UserError, match=r"pip install -c constraints\.txt"):
            policy.to_onnx(tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()
    pytest.importorskip("onnx")
    with pytest.raises(UserError, match=r"cannot write .*No such file"):
        policy.to_onnx(tmp_path / "nowhere" / "policy.onnx")
