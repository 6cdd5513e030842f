"""The numbers at the axes of the HTML viewer: distinct, ordered and short at any range."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files

import pytest

RANGES = [
    [1000.1, 1000.4],
    [12345, 12345.6],
    [-3.751, -3.749],
    [0.99999, 1.00001],
    [1e-7, 4e-7],
    [-1e6, 3e6],
    [0, 6276],
    [8000, 12000],
    [2.5, 2.5],
    [0, 0],
    [-0.3, 0.2],
]


@pytest.fixture(scope="module")
def labels():
    """Of every range: [value, label] of each tick."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("reading the viewer's script takes Node")
    script = (files("pes_rl.rendering") / "viewer" / "chart.js").read_text(encoding="utf-8")
    script += (
        f"\nconst found = {json.dumps(RANGES)}.map((one) => ticks(...span(one), 4));"
        "\nconsole.log(JSON.stringify(found.map((ts) => ts.map((t) => [t.value, t.label]))));"
    )
    result = subprocess.run([node, "-e", script], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def test_ticks_are_distinct_and_ordered_at_any_range(labels):
    for ends, found in zip(RANGES, labels, strict=True):
        assert len(found) >= 2, ends
        texts = [text for _, text in found]
        assert len(set(texts)) == len(texts), texts
        for value, text in found:
            shown = float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)
            assert shown == pytest.approx(value, rel=1e-6, abs=1e-12), texts


def test_ticks_fit_the_gutter(labels):
    assert max(len(text) for found in labels for _, text in found) <= 8


def test_plain_numbers_stay_plain(labels):
    of = {
        tuple(ends): [text for _, text in found] for ends, found in zip(RANGES, labels, strict=True)
    }
    assert of[0, 6276] == ["0", "2000", "4000", "6000"]
    assert of[-0.3, 0.2] == ["-0.2", "0", "0.2"]
