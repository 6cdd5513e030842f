"""Policy files that somebody forged: one line at loading, or a policy that acts."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.policies import make_policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import ObservationSpec, array_of
from pes_rl.storage import policy as policy_io
from pes_rl.storage.policy import POLICY_FILE, load_policy, save_policy

ENV = {
    "name": "mine:Mine",
    "gymnasium_id": None,
    "engine": "jax",
    "backend": None,
    "horizon": 100,
    "kwargs": {"size": 3},
    "wrappers": None,
}
TWO = ObservationSpec(
    "dict", keys=("a", "b"), parts=(array_of((2,)), ObservationSpec("choice", (), (3,), (1,)))
)
GROUPS = ActionSpec("multi-discrete", 3, start=(0, -1), choices=(2, 1))
BOX = ActionSpec("box", 3, (-1.0, -2.0, -np.inf), (1.0, 0.5, np.inf))
KINDS = {
    "linear": BOX,
    "linear-bias": GROUPS,
    "mlp": GROUPS,
    "gru": ActionSpec("discrete", 3, start=2),
}

DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
VALUES = [
    None,
    True,
    -1,
    0,
    1.5,
    2**70,
    -(2**70),
    1e308,
    float("nan"),
    float("inf"),
    "x",
    "",
    "a\nb",
]
VALUES += ["\ud800", "9" * 5000, [], {}, [1], [-1], ["x"], [None], {"x": 1}, [2**40, 2**40], DEEP]


def saved(folder, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a sound policy of this kind."""
    policy = make_policy(kind, 5, 3, (4,))
    theta = np.random.default_rng(0).standard_normal(policy.num_params)
    norm = Normalizer(9, np.ones(5), np.ones(5))
    scores = {"env_steps": 5, "episode_return": 1.5}
    save_policy(folder, policy, theta, norm, KINDS[kind], ENV, scores, TWO)
    text, arrays = policy_io._read(folder / POLICY_FILE)
    return json.loads(text), arrays


def write(folder, text: str, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    header = {"description": text, "sha256": policy_io._digest(text, arrays)}
    (folder / POLICY_FILE).write_bytes(save(arrays, metadata=header))


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def replaced(node: Any, path: tuple[Any, ...], *values: Any) -> Any:
    """``node`` with another value at ``path``, or with none."""
    node, (key, *rest) = copy.copy(node), path
    if rest:
        node[key] = replaced(node[key], tuple(rest), *values)
    elif values:
        node[key] = values[0]
    else:
        del node[key]
    return node


def forged_descriptions(about: dict[str, Any], parts: tuple[str, ...]) -> Iterator[Any]:
    yield from VALUES
    for path in places(about):
        if path[0] not in parts:
            continue
        yield replaced(about, path)
        for value in VALUES:
            yield replaced(about, path, value)


def forged_arrays(arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for name, array in arrays.items():
        yield {other: value for other, value in arrays.items() if other != name}
        for value in (np.nan, np.inf, -np.inf, 3e38, -3e38, -1, 2**62):
            with np.errstate(invalid="ignore"):
                forged = np.full_like(array, value)
            yield arrays | {name: forged}
        for dtype in (np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_):
            yield arrays | {name: np.array(np.nan_to_num(array, posinf=1, neginf=-1), dtype)}
        for other in (array[None], array.ravel()[:0], np.zeros((7, 7), array.dtype)):
            yield arrays | {name: np.array(other)}


def sample(space: ObservationSpec) -> Any:
    if space.kind == "array":
        return np.zeros(space.shape)
    if space.kind == "choice":
        return np.reshape(space.start, space.shape)
    parts = tuple(sample(part) for part in space.parts)
    return dict(zip(space.keys, parts, strict=True)) if space.kind == "dict" else parts


def check(folder, what: Any) -> bool:
    """Whether it loads, and then it acts; UserError's one line otherwise."""
    try:
        policy = load_policy(folder)
    except UserError as error:
        assert "\n" not in str(error), what
        assert len(str(error)) < 500, what
        return False
    for obs in (np.zeros((2, 5)), np.full((2, 5), 1e3), np.full((2, 5), -1e3)):
        action, _ = policy.predict(obs)
        assert np.isfinite(action).all(), what
    policy.predict(sample(policy.observation))
    assert {type(policy.environment[name]) for name in ("name", "engine")} == {str}, what
    assert policy.environment.get("horizon") is None or policy.environment["horizon"] > 0, what
    assert policy.normalizer is None or policy.normalizer.total >= 0, what
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_forged_policies_act_or_are_refused_at_loading(tmp_path, kind):
    about, arrays = saved(tmp_path, kind)
    loaded = 0
    parts = tuple(about) if kind == "linear" else ("policy", "action")  # the rest is the same
    for forged in forged_descriptions(about, parts):
        write(tmp_path, json.dumps(forged), arrays)
        loaded += check(tmp_path, forged)
    text = json.dumps(about)
    for forged in forged_arrays(arrays):
        write(tmp_path, text, forged)
        loaded += check(tmp_path, forged)
    assert loaded >= 10  # names, numbers of scores: much may be otherwise
    for broken in ("[" * 100_000, "", '{"schema": 1e999}', '{"schema": 1} x'):
        write(tmp_path, broken, arrays)
        assert not check(tmp_path, broken)


def test_what_gymnasium_plays_has_an_id(tmp_path):
    about, arrays = saved(tmp_path, "linear")
    write(tmp_path, json.dumps(replaced(about, ("environment", "engine"), "gymnasium")), arrays)
    with pytest.raises(
        UserError, match=r"environment\.gymnasium_id is needed by engine 'gymnasium'"
    ):
        load_policy(tmp_path)
