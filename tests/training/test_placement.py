"""The same run wherever its pairs are placed: on 1, 2, 4 or 8 devices, in chunks of any size.

Programs for one device and for several differ in which operations XLA merges, and on a CPU with
fused multiply-adds (FMA) in which products it therefore rounds. Where a simulation amplifies that,
the same is compared without FMA (``--xla_cpu_max_isa=AVX``): all that is left there is the order
of the sums in shaping's deviation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as Spec

from pes_rl.training.placement import AXIS, spread

PROGRAM = """
import dataclasses, json, sys
import jax, numpy as np
from pes_rl.training.placement import make_mesh
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure, point_mass

jax.config.update("jax_enable_compilation_cache", False)
assert len(jax.devices()) == 8
names, fields, updates, dtype = map(json.loads, sys.argv[1:])
toy = None if "env" in fields else point_mass()

def build(config, devices):
    mesh = make_mesh(jax.devices()[:devices])
    return DeviceTrainer(config, mesh, toy, np.dtype(dtype))

def differing(got, want):  # pairs whose flags or clocks are not equal
    pairs = np.zeros(len(got.train.estimator.pair), bool)
    for a, b in zip(jax.tree.leaves(got.train.estimator), jax.tree.leaves(want.train.estimator)):
        if a.ndim and len(a) == len(pairs) and a.dtype != want.train.theta.dtype:
            pairs |= a != b
    for field in ("ended", "episodes", "pair"):
        a, b = getattr(got.population, field), getattr(want.population, field)
        pairs |= (a != b).reshape(len(pairs), -1).any(axis=1)
    return int(pairs.sum())

for name, others in names.items():
    # With momentum the gradient itself is in the optimiser's state.
    config = configure(name, **{"num_pairs": 16, "shaping": "std", "momentum": 0.5} | fields)
    one, states = build(config, 1), []
    for _ in range(updates + 1):
        states.append(one.state())
        one.advance()
    alone = sum(int((s.population.ended.sum(1) == 1).sum()) for s in states)
    for devices, chunk in others:
        other = build(dataclasses.replace(config, particle_chunk=chunk), devices)
        errors, drift, pairs = [], 0.0, 0
        for before, after in zip(states[:-1], states[1:]):
            other.restore(before)
            other.advance()
            got, want = other.state(), after
            np.testing.assert_array_equal(got.train.estimator.noise, want.train.estimator.noise)
            old = jax.tree.leaves(before.train.optimizer)[0]
            g, w = (jax.tree.leaves(s.train.optimizer)[0] - 0.5 * old for s in (got, want))
            unequal = differing(got, want)
            pairs += unequal
            if not unequal:  # a pair that ended elsewhere has another loss
                errors.append(float(np.linalg.norm(g - w) / np.linalg.norm(w)))
                mean = np.abs(got.train.statistics.mean - want.train.statistics.mean).max()
                drift = max(drift, float(mean / np.abs(want.train.statistics.mean).max()))
                assert int(got.train.env_steps) == int(want.train.env_steps)
                for g, w in zip(jax.tree.leaves(got.lanes), jax.tree.leaves(want.lanes)):
                    drift = max(drift, float(np.abs(np.subtract(g, w, dtype=float)).max(initial=0)))
        print(json.dumps([name, devices, chunk, errors, drift, pairs, alone]), flush=True)
"""


def run(
    cases: dict, fields: dict, updates: int, dtype: str, amplified: int = 0, fma: bool = True
) -> list[list]:
    """Compare all cases in a process with eight devices; errors of gradients and means, flags.

    In ``amplified`` of the states, at most, the gradient may differ a hundred times as much: where
    a simulation amplifies rounding within the segment. Without ``fma`` no flag may differ.
    """
    flags = "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false"
    environment = {
        **os.environ,
        "XLA_FLAGS": flags if fma else f"{flags} --xla_cpu_max_isa=AVX",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # as users compile
        "JAX_ENABLE_X64": str(int(dtype == "float64")),
        "JAX_PLATFORMS": "cpu",
    }
    arguments = [json.dumps(value) for value in (cases, fields, updates, dtype)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == sum(len(others) for others in cases.values())
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for name, devices, chunk, errors, drift, pairs, alone in results:
        case = f"{name}, {devices} devices, chunks of {chunk}"
        worst = sorted(errors)[-1 - amplified :]
        assert worst[0] <= tolerance and drift <= tolerance, f"{case}: {worst}, {drift:.1e}"
        assert worst[-1] <= 100 * tolerance, f"{case}: {worst}"
        # Rounding may end a member a step earlier only where it decides on which side it falls.
        assert pairs <= 0.002 * 16 * updates * fma, f"{case}: {pairs} pairs differ"
        assert alone > 0, f"{case}: no member ended before its twin"
    return results


NAMES = ("es", "truncated-es", "pes", "es-single", "gpes")
PLACES = [[1, 1], [1, 4], [2, None], [4, 2], [8, None]]  # devices, pairs at a time


def test_gradients_do_not_depend_on_placement_in_float32():
    run({"es-single": PLACES[3:]}, {}, 12, "float32")


def test_gradients_do_not_depend_on_placement_in_float64():
    run({"pes": PLACES[3:]}, {}, 12, "float64")


def test_no_bit_depends_on_placement_without_fma():
    places = {"pes": [[1, 4], [2, None]], "es-single": [[8, None]]}
    fields = {"shaping": "none", "engine": "mjx", "eval_lanes": 3}
    for _, _, _, errors, drift, _, _ in run(places, fields, 12, "float32", fma=False):
        assert set(errors) == {0.0} and drift == 0


@pytest.mark.parametrize(
    ("flags", "counts"), [("", "3 2 1"), ("--xla_force_host_platform_device_count=2", "2 2 1")]
)
def test_cores_become_devices_as_far_as_pairs_divide(flags, counts):
    program = (
        "import os; os.cpu_count = lambda: 5; from pes_rl.training.placement import local_mesh; "
        "print(*(local_mesh(pairs, cores).size for pairs, cores in ((6, 5), (16, 3), (7, 4))))"
    )
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    said = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert said.split() == counts.split()


def test_inputs_of_a_program_for_several_devices_have_elements():
    """jaxlib 0.11 crashes where one has none (docs/jaxlib.md)."""
    nothing = np.ones((0, 3), np.float32)
    mesh: Any = AbstractMesh((2,), (AXIS,), (AxisType.Auto,))
    pairs = Spec(AXIS)

    def step(carry, _):
        return carry + jnp.asarray(nothing).sum(), nothing

    def body(state, weight):
        total, rows = jax.lax.scan(step, state["x"], length=2)
        return {"x": weight * total, "none": state["none"]}, rows

    state = {"x": jnp.ones((4, 3)), "none": jnp.ones((4, 0))}
    program = jax.make_jaxpr(
        spread(body, mesh, (pairs, Spec()), (pairs, Spec())), return_shape=True
    )
    traced, (after, rows) = program(state, 2.0)
    [there] = [eqn for eqn in traced.eqns if eqn.primitive.name == "shard_map"]
    assert [x.aval.shape for x in there.invars] == [(4, 3), ()]
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert rows.shape == (2, 0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_every_estimator_do_not_depend_on_placement(dtype):
    run(dict.fromkeys(NAMES, PLACES), {}, 50, dtype)


def hopper(name: str) -> dict:
    """Options of a task that ends early, on Brax's physics."""
    fields = {
        "env": "brax/hopper",
        "perturb_std": 0.1,
        "horizon": 200,
        "learning_rate": 0.01,
        "reward_shift": 1.0,
    }
    if name != "es":
        fields["segment_length"] = 20
    if name == "gpes":
        fields["noise_period"] = 40
    return fields


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_do_not_depend_on_placement_with_real_physics(name, dtype):
    run({name: PLACES[1:]}, hopper(name), 50, dtype, fma=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[1:])
def test_what_fma_adds_to_a_segment_of_real_physics(name):
    """Not ``es``: an episode of 200 steps amplifies it to 3e-3."""
    run({name: PLACES[1:]}, hopper(name), 50, "float32", amplified=1)
