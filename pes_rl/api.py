"""The Python entry points to training, with the same names and rules as the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pes_rl.config import build_config
from pes_rl.envs.loading import name_of
from pes_rl.storage.files import Place, as_path

if TYPE_CHECKING:
    from pes_rl.runs.recorder import Callback
    from pes_rl.runs.run import Run


def train(
    env: str | Callable[..., Any],
    *,
    run_dir: Place | None = None,
    config: Place | None = None,
    callback: Callback | None = None,
    **overrides: Any,
) -> Run:
    """Train a policy on ``env`` and return the finished run.

    Args:
      env: a name from ``pes-rl envs``, any Gymnasium id, ``module:Id-v0``, or ``module:name`` of a
        class or function that returns an environment; in place of the last one, that itself.
      run_dir: folder of the run; a new one below ``runs/`` if not given.
      config: YAML file between the preset and ``overrides``.
      callback: called with every metrics row (a dict); the run stops, saved and to be resumed, once
        it returns True.
      **overrides: fields of :class:`pes_rl.config.Config`, such as ``estimator="pes"``.

    Raises:
      pes_rl.errors.UserError: for anything that can be wrong with the arguments.
    """
    env = name_of(env, "environment")
    given = {"env": env, **overrides}
    built = build_config(given, as_path(config) if config is not None else None)
    from pes_rl.runs.run import train_from_config  # heavy: JAX and MuJoCo

    command = _call("train", env, {"run_dir": run_dir, "config": config, **overrides})
    return train_from_config(built, run_dir, command, callback=callback)


def resume(
    run: Place,
    num_env_steps: Any = None,
    num_threads: Any = None,
    checkpoint_every: Any = None,
    callback: Callback | None = None,
) -> Run:
    """Continue or extend a run, bit for bit where the engine allows; return it once it has stopped.

    A run that was killed before its first checkpoint starts from its ``config.yaml``.

    Args:
      run: what `train` returned, or its folder.
      num_env_steps: a new budget, at least what the run has trained already.
      num_threads: physics threads from here on.
      checkpoint_every: env steps between checkpoints from here on.
      callback: as in `train`.

    Raises:
      pes_rl.errors.UserError: ``run`` is no run, is in use, has lost its checkpoints, or its
        ``config.yaml`` was edited.
    """
    from pes_rl.runs import run as runs

    changes = {
        "num_env_steps": num_env_steps,
        "num_threads": num_threads,
        "checkpoint_every": checkpoint_every,
    }
    command = _call("resume", str(as_path(run)), changes)
    return runs.resume(run, **changes, command=command, callback=callback)


def _call(name: str, first: str, options: dict[str, Any]) -> str:
    """The call as it would be typed."""
    words = [repr(first), *(f"{k}={v!r}" for k, v in options.items() if v is not None)]
    return f"pes_rl.{name}({', '.join(words)})"
