"""`DeviceTrainer`: it learns, resumes bit for bit, and counts beyond 32 bits."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.particles.statistics import Count, Statistics
from pes_rl.policies.normalizer import Normalizer
from pes_rl.storage.checkpoint import flatten, unflatten
from pes_rl.training.compilation import use_compilation_cache
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.device_program import chunk_size, updates_per_advance
from tests.tools.reference import union
from tests.tools.toy_environment import configure, point_mass

pytestmark = pytest.mark.usefixtures("no_compilation_cache")


def test_learns_to_push():
    config = configure(
        horizon=50,
        num_pairs=8,
        segment_length=10,
        perturb_std=0.3,
        learning_rate=0.1,
        shaping="std",
        normalize_observations=False,  # it would take the constant away
        reward_shift=0.0,
        eval_every=10**6,
    )
    trainer = DeviceTrainer(config, environment=point_mass(bound=np.inf))
    before = trainer.evaluate()
    rows = [row for _ in range(4) for row in trainer.advance()]
    after = trainer.evaluate()
    # Standing still earns 1000; pushing as hard as possible, 900 and 0.1 times 1 + ... + 1000.
    assert abs(before.returns.mean() - 1000) < 150 and (before.lengths == 1000).all()
    assert after.returns.mean() > 45_000
    assert [row["update"] for row in rows] == list(range(1, 81))
    assert rows[-1]["env_steps"] == trainer.env_steps
    steps = np.diff([0, *(row["env_steps"] for row in rows)])
    assert (steps > 0).all() and (steps <= 2 * 8 * 10).all()


@pytest.mark.parametrize("estimator,policy", [("pes", "gru"), ("es-single", "linear")])
def test_resume_is_bit_for_bit(estimator, policy):
    def start():
        config = configure(estimator, policy=policy, optimizer="adam", shaping="running-std")
        return DeviceTrainer(config, environment=point_mass())

    straight = start()
    for _ in range(3):
        straight.advance()
    saved = straight.state()
    arrays = flatten(saved)
    rows = [row for _ in range(3) for row in straight.advance()]
    second = start()
    second.restore(unflatten(second.state(), arrays))
    assert (second.env_steps, second.updates) == (rows[0]["env_steps"] - _steps(rows), 3)
    assert [row for _ in range(3) for row in second.advance()] == rows
    final = flatten(straight.state())
    for name, value in flatten(second.state()).items():
        np.testing.assert_array_equal(value, final[name], err_msg=name)
    np.testing.assert_array_equal(second.evaluate().returns, straight.evaluate().returns)


def _steps(rows) -> int:
    """Env steps of the first of the rows."""
    config = configure()
    return round(rows[0]["train/live_fraction"] * 2 * config.num_pairs * config.segment_length)


def test_counts_beyond_32_bits():
    count = Count(jnp.uint32(3), jnp.uint32(2**32 - 5))
    assert int(count) == 4 * 2**32 - 5
    assert int(count.plus(jnp.uint32(4))) == 4 * 2**32 - 1
    assert int(count.plus(jnp.uint32(7))) == 4 * 2**32 + 2
    assert int(count.plus(jnp.uint32(2**32 - 1))) == 5 * 2**32 - 6
    assert float(count.to_float()) == pytest.approx(4 * 2**32, rel=1e-6)


def test_statistics_in_float32_follow_those_of_the_host():
    rng = np.random.default_rng(0)
    device, host = Statistics.empty(3), Normalizer.empty(3)
    assert device.affine().bound == 10 and (device.affine().scale == 1).all()
    for size in (1, 40, 0, 1000, 7):
        x = rng.normal([0.0, 5.0, -3.0], [1.0, 0.1, 30.0], (size, 3))
        deviation = x - np.asarray(device.mean, np.float64)
        sums = (deviation.sum(axis=0), (deviation**2).sum(axis=0))
        device = device.merge(jnp.uint32(size), *(jnp.asarray(s, jnp.float32) for s in sums))
        mean = x.mean(axis=0) if size else np.zeros(3)
        host = union(host, Normalizer(size, mean, ((x - mean) ** 2).sum(axis=0)))
    got = device.to_normalizer()
    assert got.total == host.total == 1048
    np.testing.assert_allclose(got.mean, host.mean, rtol=1e-4)
    np.testing.assert_allclose(got.m2, host.m2, rtol=1e-4)
    np.testing.assert_allclose(device.affine().scale, host.affine().scale, rtol=1e-4)


def test_statistics_of_very_many_observations_do_not_decay():
    """In float32 a sum of squares stops growing while the count goes on; a mean does not care."""
    many = Count(jnp.uint32(2**12), jnp.uint32(0))  # 2^44 observations
    before = Statistics(many, jnp.ones(1), jnp.full(1, 4.0))
    after = before
    for _ in range(5):
        after = after.merge(jnp.uint32(10_000), jnp.zeros(1), jnp.full(1, 40_000.0))
    assert int(after.total) == 2**44 + 50_000
    assert float(after.variance[0]) == 4.0 and float(after.mean[0]) == 1.0


def test_advances_and_chunks_follow_from_the_configuration():
    config = configure(num_pairs=12, segment_length=10, horizon=50, eval_every=1000)
    assert updates_per_advance(config) == 4
    assert updates_per_advance(configure("es", eval_every=10)) == 1
    assert updates_per_advance(configure(eval_every=10**9)) == 20
    chunks = {wanted: chunk_size(_chunked(config, wanted), 2) for wanted in (None, 1, 4, 5, 6, 99)}
    assert chunks == {None: None, 1: 1, 4: 3, 5: 3, 6: None, 99: None}


def _chunked(config, chunk):
    import dataclasses

    return dataclasses.replace(config, particle_chunk=chunk)


def test_pairs_that_do_not_fit_the_devices_are_refused():
    from pes_rl.training.placement import check_fit, summation_blocks

    with pytest.raises(UserError, match=r"num_pairs 10 .* 4 devices; use --num-pairs 8 or 12"):
        check_fit(10, 4)
    with pytest.raises(UserError, match=r"use --num-pairs 4$"):
        check_fit(3, 4)
    for pairs, devices in ((64, 1), (64, 4), (24, 3), (6, 2), (7, 7), (48, 16)):
        blocks = summation_blocks(pairs, devices)
        assert pairs % blocks == 0 and blocks % devices == 0
    assert {summation_blocks(64, d) for d in (1, 2, 4, 8)} == {8}


def test_an_update_of_too_many_steps_is_refused():
    with pytest.raises(UserError, match="too much for one update"):
        DeviceTrainer(configure("es", horizon=1000, num_pairs=2**22), environment=point_mass())


def test_float32_is_the_default_and_everything_is_saved_as_numpy():
    trainer = DeviceTrainer(configure(), environment=point_mass())
    leaves = jax.tree.leaves(trainer.state())
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
    assert not [leaf.dtype for leaf in leaves if leaf.dtype == np.float64]


def test_compiled_programs_are_kept_unless_another_folder_was_chosen(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    try:
        for chosen, expected in ((None, f"{tmp_path}/pes-rl/programs"), ("/mine", "/mine")):
            jax.config.update("jax_compilation_cache_dir", chosen)
            use_compilation_cache()
            assert jax.config.jax_compilation_cache_dir == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_garbage_is_collected_after_tracing_rather_than_during():
    during, environment = [], point_mass()

    def step(state, action):
        during.append(gc.isenabled())
        return environment.step(state, action)

    watched = environment._replace(step=step)
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        try:
            DeviceTrainer(configure(engine="mjx"), environment=watched).compile()
            assert gc.isenabled() == before
        finally:
            gc.enable()
    assert during and not any(during)


def test_what_it_costs_is_said_before_it_starts(monkeypatch):
    monkeypatch.setattr("pes_rl.training.device._MUCH", 1.0)
    trainer, lines = DeviceTrainer(configure(), environment=point_mass()), []
    trainer.compile(lines.append)
    assert "predicted" in lines[0] and lines[1].startswith("compiled in ")
    trainer.compile(lines.append)
    assert len(lines) == 2
