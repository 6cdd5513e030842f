"""One training run on Brax's halfcheetah, by Brax's own ES or by ours, timed without compiling.

A run is a process of its own: ``python -m benchmarks.climbers '{"method": "es", ...}'`` prints its
`Climb` as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pes_rl.runtime import one_xla_thread

ENV, BACKEND, EPISODE_LENGTH = "halfcheetah", "spring", 1000
EVAL_EPISODES = 16


@dataclass
class Climb:
    """What a run did.

    Attributes:
      env_steps: at each evaluation.
      seconds: of updating up to each evaluation; compiling and evaluating are left out.
      returns: mean returns of the evaluations.
      compile_seconds: what the first update took longer than the others.
    """

    env_steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    compile_seconds: float = 0.0

    def record(self, env_steps: int, seconds: float, value: float) -> None:
        """Add an evaluation."""
        self.env_steps.append(env_steps)
        self.seconds.append(round(seconds, 2))
        self.returns.append(round(value, 1))


class _EnoughError(Exception):
    """Stops Brax's training loop, which has no other way out."""


def brax_es(
    settings: dict[str, Any],
    seed: int,
    num_env_steps: int,
    eval_every: int,
    each_epoch: Callable[[float], bool] = lambda _: False,
) -> Climb:
    """Brax's ``agents/es``, with its own wrappers, evaluator and Adam.

    ``each_epoch`` is told the return of each evaluation, and ends the run by answering True.
    """
    from brax import envs
    from brax.training.agents.es import networks, train
    from brax.training.agents.es.train import FitnessShaping

    marks: list[tuple[int, float, float]] = []  # env steps, seconds with compiling, return
    per_update = 2 * settings["num_pairs"] * EPISODE_LENGTH

    def progress(env_steps: int, metrics: dict[str, Any]) -> None:
        if env_steps == 0:  # before any update
            return
        value = float(metrics["eval/episode_reward"])
        marks.append((env_steps, float(metrics["training/walltime"]), value))
        if each_epoch(value):
            raise _EnoughError

    def factory(*args: Any, **kwargs: Any) -> Any:
        return networks.make_es_networks(
            *args, hidden_layer_sizes=tuple(settings["hidden_sizes"]), **kwargs
        )

    updates = -(-num_env_steps // per_update)
    with contextlib.suppress(_EnoughError):
        train.train(
            envs.get_environment(ENV, backend=BACKEND),
            num_timesteps=updates * per_update,
            episode_length=EPISODE_LENGTH,
            population_size=settings["num_pairs"],
            learning_rate=settings["learning_rate"],
            perturbation_std=settings["perturb_std"],
            fitness_shaping=FitnessShaping.CENTERED_RANK,
            center_fitness=True,
            normalize_observations=True,
            num_evals=1 + max(updates // max(eval_every // per_update, 1), 2),
            num_eval_envs=EVAL_EPISODES,
            deterministic_eval=True,
            network_factory=factory,
            progress_fn=progress,
            seed=seed,
        )
    return without_compiling(marks)


def without_compiling(marks: list[tuple[int, float, float]]) -> Climb:
    """What Brax's own clock leaves when the first epochs cost as much as the later ones."""
    env_steps, seconds, returns = np.array(marks).T
    rate = np.median(np.diff(seconds) / np.diff(env_steps)) if len(marks) > 1 else 0.0
    compiling = float(seconds[0] - env_steps[0] * rate)
    climb = Climb(compile_seconds=round(compiling, 1))
    for steps, spent, value in zip(env_steps, seconds, returns, strict=True):
        climb.record(int(steps), float(spent) - compiling, float(value))
    return climb


def our_trainer(settings: dict[str, Any], seed: int, **fields: Any) -> Any:
    """A `DeviceTrainer` of the same environment; one update per advance if not asked otherwise."""
    from pes_rl.config import build_config
    from pes_rl.training.device import DeviceTrainer

    options = {key: value for key, value in settings.items() if key != "hidden_sizes"}
    if settings["hidden_sizes"]:
        options |= {"policy": "mlp", "activation": "relu", "hidden_sizes": settings["hidden_sizes"]}
    config = build_config(
        {
            "env": f"brax/{ENV}",
            "backend": BACKEND,
            "horizon": EPISODE_LENGTH,
            "optimizer": "adam",
            "shaping": "centered-rank",
            "eval_every": 1,
            "eval_episodes": EVAL_EPISODES,
            "seed": seed,
            **options,
            **fields,
        }
    )
    return DeviceTrainer(config)


def ours(
    settings: dict[str, Any],
    seed: int,
    num_env_steps: int,
    eval_every: int,
    enough: Callable[[float], bool] = lambda _: False,
) -> Climb:
    """Our fused update with the estimator of ``settings``."""
    from pes_rl.runs.loop import schedule

    trainer = our_trainer(settings, seed, num_env_steps=num_env_steps, eval_every=eval_every)
    climb, spent = Climb(), 0.0
    start = time.perf_counter()
    trainer.compile()
    climb.compile_seconds = round(time.perf_counter() - start, 1)
    start = time.perf_counter()
    for due in schedule(trainer):
        spent += time.perf_counter() - start
        if due.evaluate:
            value = float(trainer.evaluate().returns.mean())
            climb.record(trainer.env_steps, spent, value)
            if enough(value):
                break
        start = time.perf_counter()
    return climb


def main(argv: list[str]) -> None:
    job = json.loads(argv[0])
    one_xla_thread()
    method = job.pop("method")
    goal = job.pop("goal", None)

    def enough(value: float) -> bool:
        return goal is not None and value >= goal

    if method == "brax es":
        climb = brax_es(**job, each_epoch=enough)
    else:
        job["settings"]["estimator"] = method
        climb = ours(**job, enough=enough)
    if not np.isfinite(climb.returns).all():
        climb.returns = [value if np.isfinite(value) else -1e9 for value in climb.returns]
    print(json.dumps(asdict(climb)))


if __name__ == "__main__":
    main(sys.argv[1:])
