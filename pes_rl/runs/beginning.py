"""Where a new run begins that is not to begin anew: at the policy of another one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pes_rl.errors import UserError
from pes_rl.particles.statistics import Statistics
from pes_rl.policies import Policy, kind_of
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.observation import array_of
from pes_rl.storage.policy import find_policy, load_policy
from pes_rl.storage.run_folder import read_properties
from pes_rl.storage.saved_policy import SavedPolicy
from pes_rl.training.processes import Processes
from pes_rl.training.protocol import Trainer


def begin_from(trainer: Trainer, processes: Processes, run: Path | None = None) -> dict[str, Any]:
    """Give a new trainer the parameters and observation statistics of its ``config.init_from``.

    All ``processes`` call it; the first one reads the files. Optimiser, noise and environments
    begin anew.

    Args:
      trainer: it has made no update.
      processes: those of the run.
      run: the folder of a run that has begun so before, with the same policy.

    Returns:
      What identifies the policy: ``path``, ``sha256`` of its file, its ``env_steps`` and
      ``episode_return``.

    Raises:
      UserError: there is no such policy, it is another one than before, or it does not fit.
    """
    found: list[SavedPolicy] = []

    def find() -> dict[str, Any]:
        place = str(trainer.config.init_from)
        file = find_policy(place)
        policy, digest = load_policy(file), hashlib.sha256(file.read_bytes()).hexdigest()
        before = read_properties(run).get("init_from", {}) if run else {}
        if before.get("sha256", digest) != digest:
            raise UserError(f"init_from {place} is not what {run} began with; start a new run")
        check_fit(trainer, policy)
        found.append(policy)
        scores = {name: policy.scores.get(name) for name in ("env_steps", "episode_return")}
        return {"path": str(file.absolute()), "sha256": digest, **scores}

    source = processes.decide(find)
    arrays = processes.share(_arrays(found[0]) if found else None)
    state = trainer.state()
    theta = arrays["theta"].astype(state.train.theta.dtype)
    train = state.train._replace(theta=theta, average=theta.copy())
    if "mean" in arrays:
        known = Statistics.of(Normalizer(int(arrays["total"]), arrays["mean"], arrays["m2"]))
        cast = jax.tree.map(lambda x, new: np.asarray(new, x.dtype), train.statistics, known)
        train = train._replace(statistics=cast)
    trainer.restore(state._replace(train=train))
    return source


def _arrays(policy: SavedPolicy) -> dict[str, np.ndarray]:
    known = policy.normalizer._asdict() if policy.normalizer else {}
    return {"theta": policy.theta, **{name: np.asarray(value) for name, value in known.items()}}


def check_fit(trainer: Trainer, saved: SavedPolicy) -> None:
    """Raise UserError where the trainer's policy cannot begin as the ``saved`` one."""
    config, own, other = trainer.config, trainer.policy, saved.policy
    if _sizes(own) != _sizes(other):
        problem = "has {} inputs and {} outputs".format(*_sizes(other))
        fix = "this run's {} and {}; name a policy of the same task".format(*_sizes(own))
    elif own != other:
        problem, fix = f"is {_words(other)}", f"this run's {_words(own)}; give {_flags(other)}"
    elif not _same_inputs(trainer, saved):
        problem, fix = "has other observations", "name a policy of the same task"
    elif not _same_actions(trainer.action, saved.action):
        problem = "has other actions, or other bounds of them"
        fix = "name a policy of the same task"
    elif not _same_mapping(trainer.action, saved.action):
        problem = f"makes actions of outputs by {saved.action.mapping!r}"
        fix = f"this run by {trainer.action.mapping!r}; it cannot be continued here"
    elif (saved.normalizer is not None) != config.normalize_observations:
        which, flag = ("with", "--") if saved.normalizer else ("without", "--no-")
        problem = f"was trained {which} statistics of observations"
        fix = f"give {flag}normalize-observations"
    else:
        return
    raise UserError(f"init_from {config.init_from}: its policy {problem}, {fix}")


def _sizes(policy: Policy) -> tuple[int, int]:
    return policy.observation_size, policy.action_size


def _words(policy: Policy) -> str:
    return _flags(policy).removeprefix("--policy ").replace("--", "").replace("-", " ")


def _flags(policy: Policy) -> str:
    """What asks for such a policy on the command line."""
    sizes = getattr(policy, "hidden_sizes", None) or [getattr(policy, "hidden_size", "")]
    words = ["--policy", kind_of(policy), *(["--hidden-sizes", *sizes] if any(sizes) else [])]
    activation = getattr(policy, "activation", None)
    return " ".join(map(str, [*words, *(["--activation", activation] if activation else [])]))


def _same_inputs(trainer: Trainer, saved: SavedPolicy) -> bool:
    """Whether observations are alike; JAX engines know all of them flat."""
    flat = array_of((saved.policy.observation_size,))
    return trainer.observation == saved.observation or flat in (
        trainer.observation,
        saved.observation,
    )


def _same_actions(one: ActionSpec, other: ActionSpec) -> bool:
    """Whether action spaces are the same; bounds are compared in float32, as files have them."""
    names = ("kind", "size", "start", "choices")
    alike = all(getattr(one, name) == getattr(other, name) for name in names)
    return alike and np.array_equal(one.bounds, other.bounds)


def _same_mapping(one: ActionSpec, other: ActionSpec) -> bool:
    """Whether outputs become the same actions, which in [-1, 1] they do by either mapping."""
    return np.array_equal(_stretching(one), _stretching(other))


def _stretching(action: ActionSpec) -> tuple[np.ndarray, np.ndarray]:
    """Half width and middle of a box, ones and zeros where outputs are actions as they are."""
    width = np.ones(len(action.low), np.float32)
    return action.stretching or (width, 0 * width)
