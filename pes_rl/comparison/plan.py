"""What a comparison consists of: one ordinary training run per environment, estimator and seed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pes_rl.config import APPLIES, ESTIMATOR_NAMES, OPTIONS, Config, build_config, parse_fields
from pes_rl.config.checks import MOST_EPISODES
from pes_rl.config.values import as_typed, count
from pes_rl.envs.registry import Environment, resolve
from pes_rl.errors import UserError, suggest

DEFAULT_ESTIMATORS = ("es", "truncated-es", "pes", "es-single")
# Options that the comparison itself sets; every other one may be given for all runs alike.
FIXED = ("env", "estimator", "seed", "num_env_steps", "num_threads", "init_from")
# Saved this often, whatever the budget: what a kill costs is at most a tenth of a run.
_CHECKPOINTS = 10
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Cell:
    """One run."""

    config: Config

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{cell_name(self.config)}__seed{self.config.seed}"

    @property
    def label(self) -> str:
        """How people are told of it."""
        return f"{self.config.env} {self.config.estimator} seed {self.config.seed}"


@dataclass(frozen=True)
class Plan:
    """A comparison: its runs in the order of environments, estimators and seeds.

    Attributes:
      cells: the runs.
      options: what was given for all of them, by name.
      episodes: unseen episodes that score each selected policy.
    """

    cells: tuple[Cell, ...]
    options: Mapping[str, Any]
    episodes: int

    @property
    def envs(self) -> tuple[str, ...]:
        """Environments, in order."""
        return tuple(dict.fromkeys(cell.config.env for cell in self.cells))

    @property
    def estimators(self) -> tuple[str, ...]:
        """Estimators, in order."""
        return tuple(dict.fromkeys(cell.config.estimator for cell in self.cells))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, in order."""
        return tuple(dict.fromkeys(cell.config.seed for cell in self.cells))

    @property
    def budgets(self) -> dict[str, int]:
        """Env steps of each run, by environment."""
        return {cell.config.env: cell.config.num_env_steps for cell in self.cells}

    @property
    def first_cells(self) -> tuple[Cell, ...]:
        """The first seed of every environment and estimator."""
        return tuple(cell for cell in self.cells if cell.config.seed == self.seeds[0])

    def environment(self, env: str) -> Environment:
        """The registry's entry of one of ``envs``."""
        return next(c.config.environment for c in self.cells if c.config.env == env)

    def command(self, out: str) -> str:
        """The shell command that asks for this comparison, in folder ``out``."""
        steps = list(self.budgets.values())
        words = ["pes-rl", "compare", "--env", *self.envs, "--estimators", *self.estimators]
        words += ["--seeds", str(len(self.seeds))]
        words += ["--first-seed", str(self.seeds[0])] if self.seeds[0] else []
        words += ["--num-env-steps", *map(str, steps if len(set(steps)) > 1 else steps[:1])]
        words += ["--episodes", str(self.episodes)] if self.episodes != 100 else []
        for name, value in self.options.items():
            words += as_typed(name, value)
        return shlex.join([*words, "--out", out])


def make_plan(
    envs: Iterable[str],
    estimators: Iterable[str],
    seeds: Any = 5,
    first_seed: Any = 0,
    num_env_steps: Any = None,
    episodes: Any = 100,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Every run's complete configuration; presets apply per environment and estimator.

    Args:
      envs: environments, each once.
      estimators: estimators, each once.
      seeds: runs of each; seeds are ``first_seed``, ``first_seed + 1``, ...
      first_seed: the first of them.
      num_env_steps: one budget, or a sequence of one per environment; None takes the presets'.
      episodes: unseen episodes that score each selected policy.
      options: fields of ``Config`` for all runs alike, not those in ``FIXED``.

    Raises:
      UserError: for anything that can be wrong with these.
    """
    options = dict(options or {})
    _check_options(options)
    seeds, first = count("seeds", seeds, 1), count("first_seed", first_seed, 0)
    if seeds > _MOST_SEEDS:
        raise UserError(f"seeds must be at most {_MOST_SEEDS}, not {seeds}")
    chosen = _check_estimators(list(estimators))
    asked = parse_fields({name: options.get(name) for name in ("env_kwargs", "wrappers")})
    made_by = options.get("engine"), asked["env_kwargs"], asked["wrappers"]
    places = [resolve(env, *made_by).name for env in envs]
    for place in places:
        if place.startswith("__main__:"):
            raise UserError(
                f"environment {place!r} is defined by a script, which the runs of a comparison "
                "cannot see; put it into a module of its own"
            )
    _refuse_duplicates("env", places)
    if not places:
        raise UserError("no environment given; add --env, for example --env Swimmer HalfCheetah")
    cells = []
    for env, budget in zip(places, _budgets(num_env_steps, places), strict=True):
        for estimator in chosen:
            own = _options_of(estimator, chosen, options)
            given = {"env": env, "estimator": estimator, "num_threads": 1, **own}
            given |= {} if budget is None else {"num_env_steps": budget}
            config = build_config(given)
            every = config.checkpoint_every
            if "checkpoint_every" not in options and isinstance(every, int):
                often = math.ceil(config.num_env_steps / _CHECKPOINTS)
                config = replace(config, checkpoint_every=min(every, often))
            cells += [Cell(replace(config, seed=first + i)) for i in range(seeds)]
    _check_budgets(cells)
    return Plan(tuple(cells), options, count("episodes", episodes, 1, MOST_EPISODES))


def cell_name(config: Config) -> str:
    """``HalfCheetah__es-single``, fit for a file name."""
    return f"{config.env}__{config.estimator}".replace("/", "-").replace(":", "-")


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name in FIXED:
            raise UserError(f"{name} cannot be given for all runs of a comparison; remove it")
        if name not in OPTIONS:
            raise UserError(f"unknown option {name!r}{suggest(name, OPTIONS)}")


def _options_of(
    estimator: str, chosen: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options without those that others of the chosen estimators have and this one has not."""

    def takes(one: str, name: str) -> bool:
        switch, allowed, _ = APPLIES.get(name, ("", (), None))
        return switch != "estimator" or one in allowed

    # What no estimator has stays: the configuration says what is wrong with it.
    return {
        name: value
        for name, value in options.items()
        if takes(estimator, name) or not any(takes(one, name) for one in chosen)
    }


def _check_estimators(estimators: list[str]) -> list[str]:
    if not estimators:
        raise UserError("no estimator given; add --estimators, for example --estimators es pes")
    for name in estimators:
        if name not in ESTIMATOR_NAMES:
            hint = suggest(name, ESTIMATOR_NAMES) or f"; choose from {', '.join(ESTIMATOR_NAMES)}"
            raise UserError(f"unknown estimator {name!r}{hint}")
    _refuse_duplicates("estimators", estimators)
    return estimators


def _refuse_duplicates(field: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{field} holds {name!r} more than once; name it once")


def _budgets(num_env_steps: Any, envs: Sequence[str]) -> list[Any]:
    """One budget per environment."""
    several = isinstance(num_env_steps, list | tuple)
    budgets = list(num_env_steps) if several else [num_env_steps]
    if len(budgets) == 1:
        return budgets * len(envs)
    if len(budgets) != len(envs):
        raise UserError(
            f"num_env_steps takes one value, or one for each of the {len(envs)} environments, "
            f"not {len(budgets)}"
        )
    return budgets


def _check_budgets(cells: Sequence[Cell]) -> None:
    first: dict[str, Config] = {}
    for config in (cell.config for cell in cells):
        other = first.setdefault(config.env, config)
        if other.num_env_steps != config.num_env_steps:
            raise UserError(
                f"the presets of {config.env!r} have {other.num_env_steps} env steps for "
                f"{other.estimator} and {config.num_env_steps} for {config.estimator}; "
                "give --num-env-steps"
            )
        if config.seed >= 2**32:
            raise UserError(f"seed must be below 2**32, not {config.seed}; lower --first-seed")
