"""Quick variants of the experiments that tune trainings, and what they are made of."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.cli import main
from pes_rl.problems.flat import draw_weights, layer_shapes, owners, unpack
from pes_rl.problems.small_images import drawn_digits, drawn_regression, small_images
from pes_rl.reproductions.catalog import NAMES
from pes_rl.reproductions.l2_coefficient import Runs
from pes_rl.unrolled import History

pytestmark = pytest.mark.usefixtures("optimized")


def quick(name: str, folder) -> dict:
    """The record of an experiment's quick variant, with its figures looked at."""
    assert main(["reproduce", name, "--size", "quick", "--out", str(folder)]) == 0
    record = json.loads((folder / "result.json").read_text())
    assert record["figures"] == [name]
    for suffix in ("png", "svg"):
        assert (folder / f"{name}.{suffix}").stat().st_size > 10_000
    assert (folder / "claims.md").read_text().count("\n") == len(record["claims"]) + 2
    return record


def holds(record: dict, text: str) -> bool:
    """The verdict of the one claim that contains the text."""
    (claim,) = [c for c in record["claims"] if text in c["claim"]]
    return claim["holds"]


def test_hyperparameters(tmp_path):
    record = quick("hyperparameters", tmp_path)
    assert record["settings"]["data"].startswith("drawn digits")
    methods = record["results"]["methods"]["training loss, K=10"]
    loss = {style: np.median(one["loss"]) for style, one in methods.items()}
    assert loss["es-single"] < loss["truncated-es"]
    assert holds(record, "truncated ES falls for its short horizon")
    assert holds(record, "ES-Single ends near the best point of a grid")
    assert holds(record, "ES-Single finds brute force's optimum from every start")
    assert holds(record, "truncated ES settles beside the optimum")


@pytest.mark.slow
def test_many_hyperparameters(tmp_path):
    record = quick("many-hyperparameters", tmp_path)
    assert record["settings"]["hyperparameters"] == 29
    assert holds(record, "ES-Single is better than random search")
    assert holds(record, "truncated ES is not better than random search")


def test_learned_optimizer(tmp_path):
    record = quick("learned-optimizer", tmp_path)
    assert all(claim["holds"] for claim in record["claims"])
    (place,) = record["results"]["architectures"].values()
    final = {style: np.max(one["final"]) for style, one in place["learned"].items()}
    assert final["es-single"] < place["classics"]["sgd"]["final"]
    assert final["es-single"] < final["truncated-es"]


def test_they_are_listed():
    assert {"hyperparameters", "many-hyperparameters", "learned-optimizer"} <= set(NAMES)


def test_drawn_digits_are_what_they_say():
    data = drawn_digits(count=3000, held_out=1000, noise=0.1)
    assert data.train.images.shape == (2000, 15) and data.held_out.labels.shape == (1000,)
    assert data.train.images.min() >= 0 and data.train.images.max() <= 1
    means = np.stack([data.train.images[data.train.labels == d].mean(0) for d in range(10)])
    assert "".join(".#"[int(ink)] for ink in means[7] > 0.5) == "###..#..#..#..#"
    nearest = ((data.held_out.images[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == data.held_out.labels).mean() > 0.99
    np.testing.assert_array_equal(small_images(True).train.images, drawn_digits().train.images)


def test_small_images_of_real_digits():
    pytest.importorskip("sklearn")
    data = small_images(False)
    assert data.train.images.shape == (1200, 16) and data.held_out.images.shape == (597, 16)
    assert data.name.startswith("scikit-learn")


def test_drawn_regression_is_standardised():
    x, y = drawn_regression()
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose([y.mean(), y.std(), *x.std(axis=0)], [0, *[1] * 11], atol=1e-12)


def test_flat_weights():
    shapes = layer_shapes((400, 30, 2))
    assert shapes == ((400, 30), (30,), (30, 2), (2,))
    flat = draw_weights(jax.random.key(0), shapes)
    a, b, c, d = unpack(flat, shapes)
    np.testing.assert_array_equal(jnp.concatenate([x.ravel() for x in (a, b, c, d)]), flat)
    # The standard error of the spread of 12 000 numbers is 0.65 %.
    assert abs(np.std(a) * 400**0.5 - 1) < 0.04 and abs(np.std(c) * 30**0.5 - 1) < 0.5
    assert not np.any(b) and not np.any(d)
    np.testing.assert_array_equal(np.bincount(owners(shapes)), [12_000, 30, 60, 2])


class Parabola:
    """Held-out loss 1 + theta^2 at rest."""

    def optimum(self):
        return 0.0

    def at_rest(self, theta):
        return 1 + np.asarray(theta) ** 2


def test_ends_of_the_regression_are_means_before_the_moment():
    updates = np.arange(0, 101, 2)
    theta = np.stack([updates / 100.0, 0 * updates])[:, :, None]
    nothing = np.zeros((2, len(updates)))
    history = History(updates, theta, nothing, nothing.astype(int), np.zeros(2, int))
    runs = Runs(Parabola(), {"pes": history})  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(runs.ends("pes"), [0.96, 0])
    np.testing.assert_allclose(runs.ends("pes", 50), [0.48, 0])
    assert runs.excess(np.array([0.0, -0.1])) == pytest.approx(0.01)
