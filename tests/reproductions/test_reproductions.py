"""The harness, the closed forms of the variance, and every experiment in its quick variant."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.reproductions import catalog
from pes_rl.reproductions.catalog import NAMES, load, reproduce
from pes_rl.reproductions.experiment import Experiment, claims_table, rounded
from pes_rl.reproductions.figures import panels
from pes_rl.reproductions.variance_theory import (
    es_single_variance,
    pes_variance,
    pes_variance_own,
)
from pes_rl.styles import STYLES

pytestmark = pytest.mark.usefixtures("optimized")

FILES = {"result.json", "claims.md"}


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_is_declared(name):
    experiment = load(name)
    assert experiment.name == name and 0 < experiment.minutes < 60
    assert experiment.source and len(experiment.description) < 90


def test_list_names_them_all(capsys):
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["influence"], "unknown experiment 'influence'; did you mean 'influence-balancing'?"),
        (["zzz"], "unknown experiment 'zzz'; choose from influence-balancing, "),
        ([], "an experiment is needed: influence-balancing, "),
        (["variance", "--out", "{file}"], "is not a folder"),
    ],
)
def test_mistakes(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.touch()
    assert main(["reproduce", *(a.format(file=file) for a in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def fake(quick, report):
    report.setting(sizes=range(3), array=np.arange(2.0))
    report.result(mean=np.float32(1.5), gap=float("nan"), nested={1: np.array([[1, 2]])})
    report.claim("a | b grows", "somebody 2020", "it does", np.bool_(True))
    report.claim("c shrinks", "somebody 2021", "it grows", False)
    figure, (axis,) = panels(1)
    axis.plot([0, 1])
    report.figure("picture", figure)


def test_what_an_experiment_leaves_behind(tmp_path, monkeypatch):
    made = Experiment("variance", "a fake", "nobody", 1, fake)
    monkeypatch.setattr(catalog, "load", lambda name: made)
    monkeypatch.chdir(tmp_path)
    folder = reproduce("variance", size="quick", command="pes-rl reproduce variance --size quick")
    assert str(folder) == "runs/reproductions/variance-quick"
    assert {f.name for f in folder.iterdir()} == FILES | {"picture.png", "picture.svg"}
    record = json.loads((folder / "result.json").read_text())
    assert record["size"] == "quick" and record["command"].endswith("--size quick")
    assert record["settings"] == {"sizes": [0, 1, 2], "array": [0.0, 1.0]}
    assert record["results"] == {"mean": 1.5, "gap": None, "nested": {"1": [[1, 2]]}}
    assert [c["holds"] for c in record["claims"]] == [True, False]
    assert {"jax", "optax", "pes-rl"} <= set(record["versions"])
    lines = (folder / "claims.md").read_text().splitlines()
    assert lines[0] == "| claim | source | measured | holds? |"
    assert lines[2] == r"| a \| b grows | somebody 2020 | it does | yes |"
    assert lines[3].endswith("| **no** |")
    before = (folder / "picture.svg").read_bytes()
    reproduce("variance", size="quick")
    assert (folder / "picture.svg").read_bytes() == before


def test_plain_and_table():
    assert rounded((1, np.inf, "x", True, None)) == [1, None, "x", True, None]
    assert claims_table([]).count("\n") == 2


def test_methods_differ_without_colour():
    """Every method has a dash and a marker of its own."""
    assert len({repr(style.dash) for style in STYLES.values()}) == len(STYLES)
    assert len({style.marker for style in STYLES.values()}) == len(STYLES)


def test_variance_theory_against_simulation():
    """The general form on random coefficients: simulated, and its two special cases."""
    M, P, pairs, rng = 4, 3, 400_000, np.random.default_rng(0)
    G = np.tril(np.ones((M, M)))[..., None] * rng.normal(size=(M, M, P))
    eps = rng.normal(size=(pairs, M, P))
    deltas = np.einsum("kjp,njp->nk", G, eps)
    samples = np.einsum("nk,nkp->np", deltas, np.cumsum(eps, axis=1))
    total = G.sum((0, 1))
    np.testing.assert_allclose(samples.mean(0), total, atol=0.1)
    np.testing.assert_allclose(samples.var(0).sum(), pes_variance(G), rtol=0.02)
    own = np.eye(M)[..., None] * G
    c = own.sum(axis=1)
    np.testing.assert_allclose(pes_variance(own), pes_variance_own(c), rtol=1e-12)
    single = np.einsum("np,p->n", eps[:, 0], total)[:, None] * eps[:, 0]
    np.testing.assert_allclose(single.var(0).sum(), es_single_variance(total), rtol=0.02)
    assert pes_variance(G[:1, :1]) == pytest.approx(es_single_variance(G[0, 0]))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The record of an experiment's quick variant, run once."""
    records: dict = {}

    def run(name: str) -> dict:
        if name not in records:
            out = tmp_path_factory.mktemp(name)
            assert main(["reproduce", name, "--size", "quick", "--out", str(out)]) == 0
            records[name] = json.loads((out / "result.json").read_text())
            for figure in records[name]["figures"]:
                assert (out / f"{figure}.png").stat().st_size > 10_000
                assert (out / f"{figure}.svg").stat().st_size > 10_000
        return records[name]

    return run


def holds(record: dict, text: str) -> bool:
    """The verdict of the one claim that contains the text."""
    (claim,) = [c for c in record["claims"] if text in c["claim"]]
    return claim["holds"]


@pytest.mark.slow
def test_influence_balancing(quick):
    record = quick("influence-balancing")
    assert all(claim["holds"] for claim in record["claims"])
    assert len(record["claims"]) == 10


def test_toy_regression(quick):
    record = quick("toy-regression")
    assert all(claim["holds"] for claim in record["claims"])
    ends = {k: np.array(t["loss"])[:, -1] for k, t in record["results"]["tracks"].items()}
    assert ends["ES-Single"].max() < 6 < 20 < ends["RTRL"].min()


@pytest.mark.slow
def test_variance(quick):
    record = quick("variance")
    theory = [c for c in record["claims"] if c["source"].startswith("closed form")]
    assert len(theory) == 8 and all(c["holds"] for c in theory)
    assert holds(record, "real characters: PES first falls, then grows")
    assert holds(record, "real characters: with many unrolls ES-Single varies less")
    assert not holds(record, "grows linearly when segments have identical gradients")
