"""What a person is told where a run begins, and where it ends. Commands are ready to paste."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pes_rl.config import Config
from pes_rl.config.sources import preset_source
from pes_rl.console import duration


class Scores(NamedTuple):
    """The evaluations of a run.

    Attributes:
      best: the highest, -inf where there is none.
      last: the newest, NaN where there is none.
      solved: env steps after which the task's threshold was first reached, None if it never was.
    """

    best: float
    last: float
    solved: int | None


def opening(config: Config, num_parameters: int, env_steps: int, path: Path) -> str:
    """What is trained, how, and for how long."""
    threshold = config.environment.threshold
    unlike = config.environment.unlike.get(config.engine)
    pairs = f"{config.num_pairs} pair{'s' * (config.num_pairs > 1)}"
    trained = f", {env_steps:,} of them done" if env_steps else ""
    return _block(
        place(path),
        [
            ("task", config.env + (f", solved at {threshold:g}" if threshold is not None else "")),
            *([("physics", f"{config.engine}, {unlike}")] if unlike else []),
            ("estimator", f"{config.estimator}, {pairs} = {config.num_particles} particles"),
            ("preset", preset_source(config)),
            ("policy", f"{config.policy}, {num_parameters:,} parameters"),
            ("budget", f"{config.num_env_steps:,} env steps{trained}"),
        ],
    )


def outlook(config: Config, env_steps: int, steps_per_second: float) -> str:
    """What the budget means on this machine."""
    left = max(0, config.num_env_steps - env_steps) / steps_per_second
    return _line("time", f"about {_minutes(left)} more, at {steps_per_second:,.0f} env steps/s")


def closing(config: Config, scores: Scores, env_steps: int, seconds: float, path: Path) -> str:
    """What came of a run that has ended by itself, and what may be next."""
    run = shlex.quote(place(path))
    over = env_steps >= config.num_env_steps
    longer = f" --num-env-steps {2 * env_steps:_}" if over else ""
    drawn = [f"pes-rl render {run} --out episode.html"] if config.engine != "jax" else []
    commands = [f"pes-rl evaluate {run}", *drawn, f"{_resume(run)}{longer}"]
    threshold = config.environment.threshold
    lines = [
        ("return", f"best {_return(scores.best)}, last {_return(scores.last)}"),
        *([("solved", _solved(threshold, scores))] if threshold is not None else []),
        ("time", f"{duration(seconds)}, {env_steps / seconds:,.0f} env steps/s"),
        *zip(("next", "", ""), commands, strict=False),
    ]
    return _block(f"{place(path)}: {env_steps:,} env steps", lines)


def stopping(config: Config, env_steps: int, path: Path) -> str:
    """How a run that was told to stop goes on."""
    done = f"saved at {env_steps:,} of {config.num_env_steps:,} env steps"
    return _block(done, [("resume", _resume(shlex.quote(place(path))))])


def _resume(run: str) -> str:
    return f"pes-rl train --resume {run}"


def _solved(threshold: float, scores: Scores) -> str:
    if scores.solved is not None:
        return f"after {scores.solved:,} env steps, at {threshold:g}"
    # Checkpoints of earlier versions do not know when.
    return f"yes, at {threshold:g}" if scores.best >= threshold else f"no, not yet at {threshold:g}"


def _return(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "none"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def place(path: Path) -> str:
    """``path`` as it is typed in the directory that the shell was in when it started this process.

    An environment may have changed the present one.
    """
    shell = os.environ.get("PWD", "")
    return str(path.relative_to(shell) if shell and path.is_relative_to(shell) else path)


def _block(title: str, lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join([title, *(_line(*line) for line in lines)])


def _line(name: str, text: str) -> str:
    return f"  {name:<10} {text}"
