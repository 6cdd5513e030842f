"""The cost model against compiled programs, and what users read when memory runs out."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec
from pes_rl.training import memory
from pes_rl.training.device import DeviceTrainer
from tests.tools.toy_environment import configure

pytestmark = pytest.mark.usefixtures("no_compilation_cache")


def wide(observation: int, action: int, size: int) -> JaxEnvironment:
    """An environment whose state is a vector of ``size`` numbers."""
    rng = np.random.default_rng(0)
    matrix = (rng.standard_normal((size, size)) / size).astype(np.float32)
    push = rng.standard_normal((size, action)).astype(np.float32)

    def reset(key):
        state = jax.random.normal(key, (size,))
        return state, state[:observation]

    def step(state, a):
        state = jnp.tanh(jnp.asarray(matrix) @ state + jnp.asarray(push) @ a)
        return state, JaxTransition(state[:observation], state.sum(), state[0] > 9)

    spec = ActionSpec("box", action, (-1.0,) * action, (1.0,) * action)
    return JaxEnvironment(reset, step, observation, spec)


CASES = {
    "linear": (wide(256, 8, 256), {}),
    "mlp of 6022 parameters": (
        wide(22, 6, 64),
        {"policy": "mlp", "hidden_sizes": (64, 64), "num_pairs": 4096},
    ),
    "mlp, pes, chunks": (
        wide(16, 4, 64),
        {
            "policy": "mlp",
            "hidden_sizes": (64, 64),
            "estimator": "pes",
            "particle_chunk": 64,
        },
    ),
    "quadratic baseline": (
        wide(128, 8, 128),
        {"estimator": "pes", "baseline": "quadratic"},
    ),
    "mlp baseline": (wide(128, 8, 128), {"estimator": "pes", "baseline": "mlp"}),
}


@pytest.mark.parametrize("name", CASES)
def test_predicted_cost_is_that_of_the_program(name):
    environment, fields = CASES[name]
    config = dataclasses.replace(configure(num_pairs=512, segment_length=50, horizon=500), **fields)
    trainer = DeviceTrainer(config, environment=environment)
    predicted, used = trainer.prediction, memory.peak(trainer.compile())
    assert predicted.total == pytest.approx(used, rel=0.25), (predicted, used)
    if config.particle_chunk is None and config.baseline == "none":
        # XLA counts the body of a loop once: one env step, one pair's draw.
        sizes = trainer._sizes()._replace(segment=1)
        count = memory.operations(sizes, memory.step_operations(environment))
        counted = trainer.compile().cost_analysis()["flops"]
        assert count.total - count.noise == pytest.approx(counted, rel=0.25), (count, counted)


def test_chunks_take_less_memory_and_the_advice_fits():
    sizes = memory.Sizes(
        pairs=4096, chunk=4096, params=6000, segment=50, observation=17, particle=2000, step=40_000
    )
    whole = memory.predict(sizes).total
    room = whole // 2
    assert memory.predict(sizes._replace(chunk=64)).total < whole
    assert memory.predict(sizes._replace(summed=True)).accumulator == 4096 * 6000 * 4
    said = memory.advice(sizes._replace(unpacked=True), room)
    assert said == "use --particle-chunk 512"
    tight = memory.advice(sizes, whole // 8)
    assert tight == "use --num-pairs 1024 --particle-chunk 64, or more devices"


class Device:
    device_kind = "imaginary"

    def memory_stats(self):
        return {"bytes_limit": 10**8}


def test_running_out_of_memory_says_which_flag_to_change():
    sizes = memory.Sizes(
        pairs=1024, chunk=1024, params=5000, segment=50, observation=17, particle=2000, step=90_000
    )
    expected = r"out of memory on imaginary: .*1024 pairs.* MB of 100 MB; use --particle-chunk \d+$"
    with pytest.raises(UserError, match=expected), memory.explained(lambda: sizes, Device()):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
    other = pytest.raises(jax.errors.JaxRuntimeError, match="other")
    with other, memory.explained(lambda: sizes, Device()):
        raise jax.errors.JaxRuntimeError("INTERNAL: other")
    with pytest.raises(UserError, match="particle-chunk"):
        memory.check(2 * 10**8, sizes, Device())
    memory.check(10**7, sizes, Device())


def test_intermediate_results_are_counted_while_they_are_needed():
    def program(x):  # two of the three vectors at a time, but for the loop
        y = jnp.sin(x)
        z = jnp.cos(y)
        return jax.lax.fori_loop(0, 3, lambda i, a: jnp.tanh(jnp.exp(a)), z).sum()

    traced = jax.make_jaxpr(program)(jnp.zeros(1000))
    assert 2 * 4000 <= memory.widest(traced.jaxpr) <= 5 * 4000


def test_operations_of_the_policy_are_two_products_per_step():
    sizes = memory.Sizes(
        pairs=10, chunk=10, params=100, segment=5, observation=4, particle=1, step=1
    )
    assert memory.operations(sizes).policy == 2 * 10 * 5 * (2 * 100 + 2 * 100)
    assert memory.operations(sizes, physics=7).physics == 2 * 10 * 5 * 7
    assert memory.operations(sizes).total == sum(memory.operations(sizes))
