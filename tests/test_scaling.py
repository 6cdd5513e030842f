"""The formulas and predictions of docs/scaling.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pes_rl.training.memory import Bytes, Operations, Sizes, operations, predict

TEXT = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text()
CASES = [
    Sizes(pairs=100, chunk=100, params=7, segment=5, observation=3, particle=11, step=13),
    Sizes(
        pairs=96,
        chunk=24,
        params=50,
        segment=9,
        observation=4,
        particle=17,
        step=19,
        weight=2,
        unpacked=True,
        summed=True,
        observed=False,
        waypoints=3,
        learning=6,
        devices=2,
    ),
]


def formulas(heading: str) -> dict[str, str]:
    table = TEXT.split(f"| {heading} | formula |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| (\w+) \| `(.+?)` \|", table, re.MULTILINE))


def names(sizes: Sizes) -> dict[str, int]:
    s = sizes
    return {
        **{"n": s.pairs, "c": s.chunk, "P": s.params, "K": s.segment, "O": s.observation},
        **{"s": s.particle, "w": s.step, "b": s.item, "m": s.weight, "f": 23},
        **{"W": s.waypoints, "L": s.learning, "D": s.devices},
        **{"summed": s.summed, "unpacked": s.unpacked, "observed": s.observed},
        "chunked": s.chunk < s.pairs,
    }


@pytest.mark.parametrize("sizes", CASES)
def test_formulas(sizes):
    stated = (formulas("bytes"), formulas("operations"))
    assert (set(stated[0]), set(stated[1])) == (set(Bytes._fields), set(Operations._fields))
    for table, found in zip(stated, (predict(sizes), operations(sizes, 23)), strict=True):
        for name, formula in table.items():
            assert eval(formula, {}, names(sizes)) == getattr(found, name), name


def test_predictions():
    s, w, outputs = map(int, re.findall(r"\(s = (\d+), w = (\d+), O = (\d+)", TEXT)[0])
    table = TEXT.split("| particles | policy |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 7
    for line in table:
        cells = [cell.strip().replace(",", "") for cell in line.strip("| ").split("|")]
        particles, params, chunk = (int(cells[i]) for i in (0, 2, 3))
        found = predict(
            Sizes(
                pairs=particles // 2,
                chunk=chunk,
                params=params,
                segment=50,
                observation=outputs,
                particle=s,
                step=w,
                unpacked="mlp" in cells[1],
            )
        )
        physics = found.particles + found.step
        for stated, size in zip(
            cells[4:], (found.noise, found.weights, physics, found.total), strict=True
        ):
            assert float(stated) == pytest.approx(size / 1e9, abs=0.051), line
