"""Inner steps per second of a population of unrolled problems: ``python -m benchmarks.unrolled``.

Two problems of the papers, each a network in training: hyperparameters of 784-100-100-10, and the
learned optimiser of two layers of 32 units on 784-128-128-10. On each, `pes_rl.unrolled` with PES,
everything that an update needs included, takes turns with

- bare: ``jit(vmap(scan(step)))`` that trains as many of the same networks, written as one would
  write it without any of this package's machinery: batches, gradients, the optimiser, no noise, no
  estimator, no restarts;
- with ``--peer PYTHON --peer-source DIR``, on the second problem: learned_optimization's
  `TruncatedPES` in its own process (see `benchmarks.unrolled_peer`), equally many particles and
  steps, with the same network, batch and learned optimiser.

All are timed in turns in one run; ratios are medians of the turns' ratios. On a CPU each side has
one XLA thread and is charged its processor time, which is wall time on an idle machine and hardly
disturbed by others on a busy one. Images are random: only their
shape counts. Writes DIR/unrolled.json and DIR/unrolled.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pes_rl.estimators import pes
from pes_rl.problems import Problem
from pes_rl.problems.datasets import Images
from pes_rl.problems.flat import draw_weights, layer_shapes, unpack
from pes_rl.problems.hyperparameters import Tuning, rate_and_decay
from pes_rl.problems.learned_optimizer import Classifier, LearnedOptimizer
from pes_rl.problems.per_weight_mlp import PerWeightMLP
from pes_rl.runtime import one_xla_thread
from pes_rl.unrolled import evolution, make_loop

Turn = Callable[[], float]  # seconds of one turn
Step = Callable[[Any, Any, Any], tuple[Any, Any]]  # (setting, carry, t) -> (carry, loss)
SEGMENT, TUNED, LEARNT = 10, (784, 100, 100, 10), (784, 128, 128, 10)
HORIZON, BATCH, IMAGES = 1000, 128, 60_000
NET = PerWeightMLP()


class Scale(NamedTuple):
    """Pairs of the two problems; updates of a turn; turns."""

    tuned: int
    learnt: int
    updates: int
    turns: int


CPU, GPU, QUICK = Scale(8, 2, 2, 15), Scale(500, 32, 20, 11), Scale(1, 1, 1, 1)


def images() -> Any:
    """As many as MNIST has, of its shape."""
    rng = np.random.default_rng(0)
    pixels: Any = jnp.asarray(rng.random((IMAGES, 784), dtype=np.float32))
    labels: Any = jnp.asarray(rng.integers(0, 10, IMAGES, dtype=np.int32))
    return Images(pixels, labels)


def ours(problem: Problem, theta: Any, pairs: int, std: float, updates: int) -> Turn:
    """The population of the package, through its fused update."""
    method = evolution(problem, pes(pairs, std, SEGMENT, HORIZON))
    loop = make_loop(method, optax.adam(1e-3))

    def many(state: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda now, _: loop.update(now), state, length=updates)

    return taken(jax.jit(many, donate_argnums=0), jax.jit(loop.init)(jax.random.key(0), theta))


def bare(step: Step, carry: Any, settings: Any, steps: int) -> Turn:
    """Independent trainings, one for every setting [M, ...]."""

    def train(setting: Any, carry: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda now, t: step(setting, now, t), carry, jnp.arange(steps))

    run = jax.jit(jax.vmap(train), donate_argnums=1)
    return taken(lambda state: run(settings, state), carry)


def taken(run: Callable[[Any], tuple[Any, Any]], state: Any) -> Turn:
    """Turns that go on where the last one ended."""
    held = [state]
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter

    def turn() -> float:
        start = clock()
        held[0], out = run(held[0])
        jax.block_until_ready((held[0], out))
        return clock() - start

    return turn


def networks(sizes: tuple[int, ...], number: int) -> Any:
    """Weights of so many networks, as a plain list of arrays each."""
    shapes = layer_shapes(sizes)
    keys = jax.random.split(jax.random.key(1), number)
    return jax.vmap(lambda key: unpack(draw_weights(key, shapes), shapes))(keys)


def loss(weights: list[Any], pixels: Any, labels: Any) -> Any:
    """Mean cross-entropy of a tanh network."""
    x = pixels
    for i in range(0, len(weights) - 2, 2):
        x = jnp.tanh(x @ weights[i] + weights[i + 1])
    scores = jax.nn.log_softmax(x @ weights[-2] + weights[-1])
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def tuning(scale: Scale) -> dict[str, Turn]:
    """Learning rate and decay of stochastic gradient descent with momentum."""
    data, members = images(), 2 * scale.tuned
    problem = Tuning(rate_and_decay(5000.0), data, data, hidden=TUNED[1:-1], batch=BATCH)

    def step(rate: Any, carry: Any, t: Any) -> tuple[Any, Any]:
        weights, velocity, place = carry
        chosen = (place + t * BATCH + jnp.arange(BATCH)) % IMAGES
        value, slope = jax.value_and_grad(loss)(weights, data.images[chosen], data.labels[chosen])
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, slope)
        now = rate / (1 + t / 5000.0)
        weights = jax.tree.map(lambda w, v: w - now * v, weights, velocity)
        return (weights, velocity, place), value

    weights = networks(TUNED, members)
    places = jax.random.randint(jax.random.key(2), (members,), 0, IMAGES)
    carry = weights, jax.tree.map(jnp.zeros_like, weights), places
    rates = jnp.geomspace(0.01, 0.1, members)
    return {
        "ours": ours(problem, jnp.array([-3.0, 0.0]), scale.tuned, 0.1, scale.updates),
        "bare": bare(step, carry, rates, scale.updates * SEGMENT),
    }


def learning(scale: Scale) -> dict[str, Turn]:
    """The learned optimiser of the papers."""
    data, members = images(), 2 * scale.learnt
    problem = LearnedOptimizer(Classifier(data.images, data.labels, LEARNT[1:-1], BATCH), NET)
    theta = NET.initial_theta(jax.random.key(0))

    def step(theta: Any, carry: Any, t: Any) -> tuple[Any, Any]:
        weights, state, key = carry
        chosen = jax.random.randint(jax.random.fold_in(key, t), (BATCH,), 0, IMAGES)
        value, slope = jax.value_and_grad(loss)(weights, data.images[chosen], data.labels[chosen])
        move, state = NET.optimizer(theta).update(slope, state, weights)
        return (optax.apply_updates(weights, move), state, key), value

    weights = networks(LEARNT, members)
    thetas = theta + 0.01 * jax.random.normal(jax.random.key(3), (members, theta.size))
    states = jax.vmap(lambda one, own: NET.optimizer(one).init(own))(thetas, weights)
    carry = weights, states, jax.random.split(jax.random.key(4), members)
    return {
        "ours": ours(problem, theta, scale.learnt, 0.01, scale.updates),
        "bare": bare(step, carry, thetas, scale.updates * SEGMENT),
    }


def peer(python: str, source: str, scale: Scale) -> tuple[Turn, Callable[[], None]]:
    """A turn of learned_optimization, and what ends its process."""
    setting = {
        "pairs": scale.learnt,
        "segment": SEGMENT,
        "horizon": HORIZON,
        "batch": BATCH,
        "hidden": LEARNT[1:-1],
        "width": NET.width,
        "depth": NET.depth,
        "perturb_std": 0.01,
        "rate": 1e-3,
    }
    command = [python, str(Path(__file__).with_name("unrolled_peer.py")), source]
    process = subprocess.Popen(
        [*command, json.dumps(setting)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def turn() -> float:
        assert process.stdin and process.stdout
        process.stdin.write(f"{scale.updates}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f"the peer ended; run {command} by hand to see why")
        return json.loads(answer)["seconds"]

    def end() -> None:
        process.communicate()

    return turn, end


def compare(name: str, sides: dict[str, Turn], pairs: int, scale: Scale) -> dict[str, Any]:
    """All sides in turns."""
    for side, turn in sides.items():
        first = turn() + turn()  # compiled, and restarts seen
        print(f"{name}: {side} began, {first:.1f} s", file=sys.stderr, flush=True)
    seconds = [{side: turn() for side, turn in sides.items()} for _ in range(scale.turns)]
    steps = 2 * pairs * SEGMENT * scale.updates
    result: dict[str, Any] = {"problem": name, "particles": 2 * pairs}
    for side in sides:
        result[f"{side}_steps_per_s"] = steps / statistics.median(row[side] for row in seconds)
        ratios = sorted(row[side] / row["ours"] for row in seconds)
        if side != "ours":
            result[f"ours_to_{side}"] = statistics.median(ratios), ratios[0], ratios[-1]
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| problem | particles | beside | inner steps/s: ours, theirs | ratio (range) |"]
    lines.append("| --- " * 5 + "|")
    for row in rows:
        for side in ("bare", "peer"):
            if f"ours_to_{side}" in row:
                middle, low, high = row[f"ours_to_{side}"]
                theirs = row[f"{side}_steps_per_s"]
                speeds = f"{row['ours_steps_per_s']:.0f}, {theirs:.0f}"
                lines.append(
                    f"| {row['problem']} | {row['particles']} | {side} | {speeds} "
                    f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--peer", help="interpreter that has learned_optimization's requirements")
    parser.add_argument("--peer-source", help="folder that has learned_optimization/")
    parser.add_argument("--quick", action="store_true", help="only shows that all of it runs")
    args = parser.parse_args()
    one_xla_thread()
    on_cpu = jax.default_backend() == "cpu"
    scale = QUICK if args.quick else CPU if on_cpu else GPU
    rows = [compare("hyperparameters 784-100-100-10", tuning(scale), scale.tuned, scale)]
    sides, end = learning(scale), lambda: None
    if args.peer:
        sides["peer"], end = peer(args.peer, args.peer_source, scale)
    rows.append(compare("learned optimiser on 784-128-128-10", sides, scale.learnt, scale))
    end()
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "jax": jax.__version__,
        "scale": scale._asdict(),
        "segment": SEGMENT,
        "batch": BATCH,
    }
    (args.out / "unrolled.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    (args.out / "unrolled.md").write_text(table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
