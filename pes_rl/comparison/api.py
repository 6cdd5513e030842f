"""``pes_rl.compare``: plan, train, score, time, summarise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from pes_rl.comparison.plan import DEFAULT_ESTIMATORS, Cell, Plan, make_plan
from pes_rl.comparison.store import SCORE_SEED, Store, marked_command, open_store, timing_key
from pes_rl.config import JAX_ENGINES
from pes_rl.envs.loading import name_of
from pes_rl.errors import UserError
from pes_rl.storage.files import Place, as_path

if TYPE_CHECKING:
    from pes_rl.config.overrides import Options

_TIMED_ENV_STEPS = 200_000


class Comparison(NamedTuple):
    """A finished comparison: its folder, and summary.json as a mapping."""

    path: Path
    summary: dict[str, Any]


def compare(
    env: str | Callable[..., Any] | Iterable[str | Callable[..., Any]],
    *,
    out: Place,
    estimators: str | Iterable[str] = DEFAULT_ESTIMATORS,
    seeds: Any = 5,
    first_seed: Any = 0,
    num_env_steps: Any = None,
    episodes: Any = 100,
    workers: Any = None,
    timing: bool = True,
    **options: Unpack[Options],
) -> Comparison:
    """Train every estimator on every environment with several seeds, and compare them.

    ``out`` keeps the runs: asked again, for more seeds, env steps, estimators or environments as
    well, it trains only what is missing, and continues what was interrupted. (A run that is given
    more env steps keeps the evaluation at its former end.)

    Args:
      env: one or several environments, as `pes_rl.train` takes them, but for what the calling
        script defines itself: every run is a process of its own.
      out: folder of the runs, tables, plots and ``summary.md``; new, or of a comparison.
      estimators: their names; ratios and probabilities of improvement are against ``es``.
      seeds: runs of each estimator in each environment.
      first_seed: seeds are ``first_seed``, ``first_seed + 1``, ...
      num_env_steps: one budget, or one per environment; by default the presets'.
      episodes: unseen episodes that score the selected policy of each run.
      workers: runs at the same time, each on one thread; by default one per available core.
      timing: whether to measure, for the wall-clock, the speed of each estimator in each
        environment, one after the other once all runs have ended.
      **options: fields of ``pes_rl.config.Config`` for all runs alike.

    Raises:
      pes_rl.errors.UserError: for anything that can be wrong with the arguments; or some runs
        failed, and all others have finished.
      KeyboardInterrupt, SystemExit(143): SIGINT or SIGTERM arrived; the runs have been saved.
    """
    asked = [env] if isinstance(env, str) or not isinstance(env, Iterable) else env
    chosen = [estimators] if isinstance(estimators, str) else estimators
    envs = [name_of(one, "environment") for one in asked]
    plan = make_plan(envs, chosen, seeds, first_seed, num_env_steps, episodes, options)
    number = _workers(workers)
    from pes_rl.runs.signals import leave_if, stop_signals

    with open_store(as_path(out).absolute(), plan) as store, stop_signals() as stop:
        _train(plan, store, number, stop)
        leave_if(stop)
        if timing:
            _time(plan, store, stop)
            leave_if(stop)
        from pes_rl.comparison.output import write_outputs  # NumPy and Matplotlib

        return Comparison(store.root, write_outputs(plan, store, timing))


def _workers(workers: Any) -> int:
    from pes_rl.config.values import count
    from pes_rl.envs.make import available_threads

    return available_threads() if workers is None else count("workers", workers, 1)


def _train(plan: Plan, store: Store, workers: int, stop: Sequence[int]) -> None:
    """Run whatever is not finished and scored."""
    from pes_rl.comparison.pool import Task, run_tasks
    from pes_rl.comparison.progress import Progress

    missing = [cell for cell in plan.cells if not store.is_scored(cell, plan.episodes)]
    missing.sort(key=lambda cell: -cell.config.num_env_steps)  # the longest first: no long tail
    command = marked_command(plan, store.root)
    cells: dict[Task, Cell] = {}
    for cell in missing:
        payload = {
            "kind": "train",
            "config": dataclasses.asdict(cell.config),
            "run": str(store.run(cell)),
            "result": str(store.score_file(cell)),
            "episodes": plan.episodes,
            "seed": SCORE_SEED,
            "command": command,
        }
        cells[Task(cell.label, payload, store.log(cell.name), _environment(cell))] = cell
    budgets = {cell.name: cell.config.num_env_steps for cell in plan.cells}
    total = sum(budgets.values())
    done = total - sum(cell.config.num_env_steps for cell in missing)
    with Progress(total, done, len(plan.cells), len(plan.cells) - len(missing)) as progress:

        def tick(running: Sequence[Task]) -> None:
            at_work = [cells[task] for task in running]
            progress.update({c.label: (store.run(c), c.config.num_env_steps) for c in at_work})

        def finished(task: Task) -> None:
            cell = cells[task]
            progress.finished(cell.label, cell.config.num_env_steps, _result(store, cell))

        failures = run_tasks(list(cells), workers, stop, tick, finished)
    if failures and not stop:
        first = failures[0]
        raise UserError(
            f"{len(failures)} of {len(plan.cells)} runs failed, {first.task.label}: {first.reason} "
            f"(see {first.task.log}); the same command tries again"
        )


def _time(plan: Plan, store: Store, stop: Sequence[int]) -> None:
    """Measure speeds one by one, with every core, while nothing else of ours runs."""
    from pes_rl.comparison.pool import Task, run_tasks
    from pes_rl.comparison.progress import Progress

    tasks = []
    for cell in plan.first_cells:
        if store.timing(cell) is None:
            result = store.timing_file(cell)
            payload = {
                "kind": "time",
                "config": dataclasses.asdict(dataclasses.replace(cell.config, num_threads=None)),
                "env_steps": min(cell.config.num_env_steps, _TIMED_ENV_STEPS),
                "of": timing_key(cell),
                "result": str(result),
            }
            label = f"speed of {cell.config.env} {cell.config.estimator}"
            log = store.log(f"timing__{result.stem}")
            tasks.append(Task(label, payload, log, _platform(cell)))
    with Progress(len(tasks), 0, len(tasks), 0, "speeds") as progress:
        failures = run_tasks(
            tasks,
            1,
            stop,
            lambda running: progress.update({}),
            lambda task: progress.finished(task.label, 1, "measured"),
        )
    if failures and not stop:
        raise UserError(
            f"the {failures[0].task.label} could not be measured: {failures[0].reason} "
            f"(see {failures[0].task.log}); try again, or leave it out with --no-timing"
        )


def _environment(cell: Cell) -> dict[str, str]:
    from pes_rl.comparison.pool import one_thread

    return one_thread() | _platform(cell)


def _platform(cell: Cell) -> dict[str, str]:
    """Where JAX computes: it claims a GPU's whole memory for one process if nobody objects."""
    if cell.config.engine in JAX_ENGINES:
        return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return {"JAX_PLATFORMS": "cpu"}


def _result(store: Store, cell: Cell) -> str:
    found = store.score(cell)
    if found is None:
        return "finished"
    score = found["score"]
    mean, std = score["episode_return_mean"], score["episode_return_std"]
    if mean is None:
        return "simulations of unseen episodes broke down"
    return f"return {mean:.1f} +- {std:.1f} over {score['episodes']} unseen episodes"
