"""What training adds to somebody else's JAX environment: ``python -m benchmarks.jax_environments``.

Prints one JSON line: env steps per second of updates in MuJoCo Playground's CheetahRun on one
device, those of a bare scan over the vmapped ``env.step`` of Playground's own object, and their
ratio. Both do the same physics: the policy and its perturbations are too small to move anything,
and the actions of the bare scan are zero. Beside it as many starts are made as episodes of that
length need, each of which is 200 physics steps in this environment; ``steps_only`` is the speed
without them. All run in one process, in turns, after a warm-up; the ratios are the medians of the
turns' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.overhead import seconds
from pes_rl.config import build_config
from pes_rl.envs.playground_engine import playground_environment
from pes_rl.runtime import one_xla_thread
from pes_rl.training.device import DeviceTrainer
from pes_rl.training.placement import make_mesh

NAME, SEGMENT, HORIZON = "CheetahRun", 50, 1000


def make_trainer(num_pairs: int) -> DeviceTrainer:
    """One update per advance, of a linear policy that stays near zero."""
    fields = {"num_pairs": num_pairs, "segment_length": SEGMENT, "horizon": HORIZON}
    fields |= {"estimator": "es-single", "policy": "linear", "eval_every": 1}
    fields |= {"perturb_std": 1e-6, "learning_rate": 1e-9}
    # The names are those of an environment that the configuration knows; none of it is stepped.
    config = build_config({"env": "HalfCheetah", "engine": "mjx", **fields})
    environment = playground_environment(NAME, {})
    return DeviceTrainer(config, make_mesh(jax.devices()[:1]), environment)


def make_bare(num_pairs: int, starts: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Playground alone: some starts of episodes, and a segment of so many pairs."""
    from mujoco_playground import registry

    env = registry.load(NAME, config_overrides={"impl": "jax"})
    count = 2 * num_pairs
    actions = jnp.zeros((count, env.action_size))
    keys = jax.random.split(jax.random.key(0), starts)

    def segment(state: Any, actions: jax.Array) -> Any:
        def body(state: Any, _: None) -> Any:
            # The reward is used, or the compiler would leave it out.
            state = jax.vmap(env.step)(state, actions)
            return state, state.reward.sum()

        return jax.lax.scan(body, state, length=SEGMENT)

    with jax.default_matmul_precision("highest"):
        reset = jax.jit(jax.vmap(env.reset)).lower(keys).compile()
        some = reset(keys)
        carried = [jax.tree.map(lambda leaf: jnp.resize(leaf, (count, *leaf.shape[1:])), some)]
        run = jax.jit(segment, donate_argnums=0).lower(carried[0], actions).compile()

    def start() -> None:
        jax.block_until_ready(reset(keys))

    def step() -> None:
        carried[0], rewards = run(carried[0], actions)
        jax.block_until_ready(rewards)

    return start, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    one_xla_thread()
    pairs = options.pairs
    trainer = make_trainer(pairs)
    starts = -(-pairs * SEGMENT // HORIZON)
    works = [trainer.advance, *make_bare(pairs, starts)]
    for work in works * 2:
        work()
    turns = [[seconds(work) for work in works] for _ in range(options.repeats)]
    ours, resets, steps_only = zip(*turns, strict=True)
    bare = tuple(map(sum, zip(resets, steps_only, strict=True)))
    steps = 2 * pairs * SEGMENT

    def speed(times: tuple[float, ...]) -> int:
        return round(steps / statistics.median(times))

    def ratio(times: tuple[float, ...]) -> float:
        return round(statistics.median(b / a for a, b in zip(ours, times, strict=True)), 3)

    result = {"environment": f"playground/{NAME}", "device": jax.devices()[0].device_kind}
    result |= {"particles": 2 * pairs, "update": speed(ours), "bare": speed(bare)}
    result |= {"steps_only": speed(steps_only), "ratio": ratio(bare)}
    print(json.dumps(result | {"ratio_steps_only": ratio(steps_only)}))


if __name__ == "__main__":
    main()
