"""The Python entry points to training, with the same names and rules as the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from pes_rl.config import build_config
from pes_rl.envs.loading import name_of
from pes_rl.storage.files import Place, as_path

if TYPE_CHECKING:
    from pes_rl.config.overrides import Changes, Overrides
    from pes_rl.runs.recorder import Callback
    from pes_rl.runs.run import Run


def train(
    env: str | Callable[..., Any],
    *,
    run_dir: Place | None = None,
    config: Place | None = None,
    init: Place | None = None,
    callback: Callback | None = None,
    stop_at: float | str | None = None,
    track: str | None = None,
    **overrides: Unpack[Overrides],
) -> Run:
    """Train a policy on ``env`` and return the finished run.

    Args:
      env: a name from ``pes-rl envs``, any Gymnasium id, ``module:Id-v0``, or ``module:name`` of a
        class or function that returns an environment; in place of the last one, that itself.
      run_dir: folder of the run; a new one below ``runs/`` if not given.
      config: YAML file between the preset and ``overrides``.
      init: a run or a saved policy whose parameters and observation statistics are the start.
      callback: called with every metrics row (a dict), evaluations being those with the key
        ``eval/episode_return``; the run stops, saved and to be resumed, once it returns True. If it
        raises, what has been trained is saved first.
      stop_at: a return, or ``"solved"`` for the task's threshold: the run stops, likewise, once an
        evaluation of a policy reaches it and another one, of other episodes, does too.
      track: ``"wandb"`` or ``"mlflow"``, to have the metrics there too.
      **overrides: fields of ``pes_rl.config.Config``, such as ``estimator="pes"``.

    Raises:
      pes_rl.errors.UserError: for anything that can be wrong with the arguments.
    """
    env = name_of(env, "environment")
    if init is not None:
        overrides["init_from"] = str(as_path(init))
    built = build_config({"env": env, **overrides}, as_path(config) if config is not None else None)
    from pes_rl.runs.run import train_from_config  # heavy: JAX and MuJoCo

    hooks = {"stop_at": stop_at, "track": track}
    command = _call("train", env, {"run_dir": run_dir, "config": config, **hooks, **overrides})
    return train_from_config(built, run_dir, command, callback=callback, **hooks)


def resume(
    run: Place,
    *,
    callback: Callback | None = None,
    stop_at: float | str | None = None,
    track: str | None = None,
    **changes: Unpack[Changes],
) -> Run:
    """Continue or extend a run, bit for bit where the engine allows; return it once it has stopped.

    A run that was killed before its first checkpoint starts from its ``config.yaml``.

    Args:
      run: what `train` returned, or its folder.
      callback: as in `train`.
      stop_at: as in `train`; that of an earlier call is forgotten.
      track: as in `train`; the tracker's run goes on too.
      **changes: fields of ``pes_rl.config.Config`` that are another from here on (None leaves
        one as it is): ``num_env_steps``, at least what the run has trained already,
        ``learning_rate``, ``learning_rate_schedule``, ``schedule_env_steps``,
        ``perturb_std_decay_steps``, ``eval_every``, ``eval_episodes``, ``checkpoint_every``,
        ``num_threads``.

    Raises:
      pes_rl.errors.UserError: ``run`` is no run, is in use, has lost its checkpoints, or its
        ``config.yaml`` was edited; or another field was to change.
    """
    from pes_rl.runs import run as runs

    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    hooks = {"stop_at": stop_at, "track": track}
    command = _call("resume", str(as_path(run)), hooks | given)
    return runs.resume(run, callback=callback, command=command, **hooks, **given)


def _call(name: str, first: str, options: dict[str, Any]) -> str:
    """The call as it would be typed."""
    words = [repr(first), *(f"{k}={v!r}" for k, v in options.items() if v is not None)]
    return f"pes_rl.{name}({', '.join(words)})"
