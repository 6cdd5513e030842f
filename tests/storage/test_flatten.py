"""Trees of arrays become named arrays and trees again."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.policies.normalizer import Normalizer
from pes_rl.storage.checkpoint import flatten, unflatten

Pair = namedtuple("Pair", "plus minus")


def test_flatten_and_unflatten_are_inverse():
    tree = {
        "theta": np.arange(3, dtype=np.float32),
        "optimizer": (Pair(np.zeros(2), None), (), [np.array(True)]),
        "normalizer": Normalizer(7, np.ones(2), np.zeros(2)),
        "rate": 0.5,
    }
    flat = flatten(tree)
    assert set(flat) == {
        "theta",
        "optimizer/0/plus",
        "optimizer/2/0",
        "normalizer/total",
        "normalizer/mean",
        "normalizer/m2",
        "rate",
    }
    template = {
        "theta": np.zeros(3, np.float32),
        "optimizer": (Pair(np.ones(2), None), (), [np.array(False)]),
        "normalizer": Normalizer.empty(2),
        "rate": 0.0,
    }
    back = unflatten(template, flat)
    assert isinstance(back["normalizer"], Normalizer)
    assert (back["normalizer"].total, back["rate"]) == (7, 0.5)
    assert isinstance(back["normalizer"].total, int)
    assert isinstance(back["optimizer"][0], Pair)
    assert back["optimizer"][1:] == ((), [np.array(True)])
    assert {k: v.tobytes() for k, v in flatten(back).items()} == {
        k: v.tobytes() for k, v in flat.items()
    }


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"b": np.zeros(2)}, "lacks 'a/0'"),
        ({"a/0": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}, "unknown array 'c'"),
        ({"a/0": np.zeros(4), "b": np.zeros(2)}, r"'a/0' is float64\[4\], not float64\[3\]"),
        (
            {"a/0": np.zeros(3), "b": np.zeros(2, np.float32)},
            r"'b' is float32\[2\], not float64\[2\]",
        ),
    ],
)
def test_a_leaf_that_does_not_fit_is_named(arrays, message):
    with pytest.raises(UserError, match=message):
        unflatten({"a": (np.zeros(3),), "b": np.zeros(2)}, arrays)


def test_ambiguous_names_are_refused():
    with pytest.raises(ValueError, match="without '/'"):
        flatten({"a/b": np.zeros(1)})
