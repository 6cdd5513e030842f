"""The Python entry point to training, with the same names and rules as the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pes_rl.config import build_config

if TYPE_CHECKING:
    from pes_rl.run import Run


def train(
    env: str,
    *,
    run_dir: str | Path | None = None,
    config: str | Path | None = None,
    **overrides: Any,
) -> Run:
    """Train a policy on ``env`` and return the finished run.

    Args:
      env: a name from ``pes-rl envs`` or any Gymnasium id.
      run_dir: folder of the run; a new one below ``runs/`` if not given.
      config: YAML file between the preset and ``overrides``.
      **overrides: fields of :class:`pes_rl.config.Config`, such as ``estimator="pes"``.

    Raises:
      pes_rl.errors.UserError: for anything that can be wrong with the arguments.
    """
    given = {"env": env, **overrides}
    built = build_config(given, Path(config) if config is not None else None)
    from pes_rl.run import train_from_config  # heavy: JAX and MuJoCo

    shown = {"run_dir": run_dir, "config": config, **overrides}
    arguments = [repr(env), *(f"{k}={v!r}" for k, v in shown.items() if v is not None)]
    command = f"pes_rl.train({', '.join(arguments)})"
    return train_from_config(built, Path(run_dir) if run_dir is not None else None, command)
