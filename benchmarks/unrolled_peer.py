"""learned_optimization's own PES, a turn at a time: the peer of ``python -m benchmarks.unrolled``.

Run by the interpreter of an environment that has the peer's requirements; it needs nothing of
pes_rl. Its task: `_MLPImageTask` (tanh) on random images of Fashion-MNIST's shape, its learned
optimiser `MLPLOpt`, its estimator `TruncatedPES` with both members of a pair in one batch, driven
by its `SingleMachineGradientLearner`. TensorFlow, which it only loads its data with, is replaced by
nothing; batches are drawn before the clock starts. For every line of standard input, a number of
updates, it prints the seconds they took.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from typing import Any
from unittest.mock import MagicMock

import flax.training.checkpoints  # before TensorFlow is made up, so that it sees that there is none
import jax
import numpy as np

del flax


def make_learner(setting: dict[str, Any]) -> Any:
    """Their learner, with a population of pairs on one task."""
    for name in ("tensorflow", "tensorflow.compat", "tensorflow.compat.v2", "tensorflow_datasets"):
        sys.modules[name] = MagicMock(name=name)
    from learned_optimization.learned_optimizers import mlp_lopt  # pyright: ignore
    from learned_optimization.optimizers import base as optimizers  # pyright: ignore
    from learned_optimization.outer_trainers import (  # pyright: ignore
        gradient_learner,
        lopt_truncated_step,
        truncated_pes,
        truncation_schedule,
    )
    from learned_optimization.tasks import base as tasks  # pyright: ignore
    from learned_optimization.tasks.datasets import base as datasets  # pyright: ignore
    from learned_optimization.tasks.fixed import image_mlp  # pyright: ignore

    rng, batch = np.random.default_rng(0), setting["batch"]
    drawn = [
        {
            "image": rng.random((batch, 28, 28, 1), dtype=np.float32),
            "label": rng.integers(0, 10, batch).astype(np.int32),
        }
        for _ in range(100)
    ]
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), drawn[0])
    data = datasets.Datasets(
        *(itertools.cycle(drawn) for _ in range(4)), {"num_classes": 10}, abstract
    )
    task = image_mlp._MLPImageTask(data, setting["hidden"], act_fn=jax.numpy.tanh)
    optimizer = mlp_lopt.MLPLOpt(
        hidden_size=setting["width"], hidden_layers=setting["depth"], compute_summary=False
    )
    step = lopt_truncated_step.VectorizedLOptTruncatedStep(
        tasks.single_task_to_family(task),
        optimizer,
        truncation_schedule.ConstantTruncationSchedule(setting["horizon"]),
        setting["pairs"],
        random_initial_iteration_offset=setting["horizon"],
    )
    estimator = truncated_pes.TruncatedPES(
        step,
        trunc_length=setting["segment"],
        std=setting["perturb_std"],
        steps_per_jit=setting["segment"],
        stack_antithetic_samples=True,
    )
    outer = optimizers.Adam(setting["rate"])
    return gradient_learner.SingleMachineGradientLearner(optimizer, [estimator], outer)


def main() -> None:
    """Take turns until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="the folder that has learned_optimization/")
    parser.add_argument("setting", type=json.loads, help="JSON")
    args = parser.parse_args()
    sys.path.insert(0, args.source)
    learner = make_learner(args.setting)
    key = jax.random.PRNGKey(0)
    state = learner.init(key)
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    for line in sys.stdin:
        start = clock()
        for _ in range(int(line)):
            key, own = jax.random.split(key)
            state, loss, _ = learner.update(state, own)
            loss = float(loss)
        print(json.dumps({"seconds": clock() - start, "jax": jax.__version__}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
