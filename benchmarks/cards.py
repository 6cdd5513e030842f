"""A policy's card: how it was trained, how it scored, and whether it still scores like that.

Scores are of the official environment, on seeds that neither training nor the choice of the best
policy has seen. Every episode's return is in the card, so that a few episodes suffice to check it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl import zoo
from pes_rl.config import OPTIONS, Config, build_config, load_config
from pes_rl.config.values import as_typed
from pes_rl.evaluation.official import play_official
from pes_rl.evaluation.statistics import summarize
from pes_rl.evaluation.versions import scoring_versions
from pes_rl.storage.files import plain, write_bytes_atomic, write_text_atomic
from pes_rl.storage.policy import DESCRIPTION_FILE, POLICY_FILE, load_policy
from pes_rl.storage.run_folder import CONFIG
from pes_rl.storage.saved_policy import SavedPolicy

SEED, EPISODES = 1000, 100
_KERNEL = "matrix_product"  # which BLAS kernel: decides the last bits, says nothing to a reader


def add(run: Path, episodes: int = EPISODES, seed: int = SEED) -> Path:
    """Put the policy of ``run`` (its best one) into the zoo, with its card; returns the folder.

    The name is the environment's; a policy of that name is replaced. Raises UserError when
    ``run`` is no run or has no policy.
    """
    policy, config = load_policy(run), load_config(run / CONFIG)
    name = policy.environment["name"].replace("/", "-").replace(":", "-")
    card = make_card(name, policy, config, episodes, seed)
    folder = zoo.FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (POLICY_FILE, DESCRIPTION_FILE):
        write_bytes_atomic(folder / file, (policy.path / file).read_bytes())
    write_text_atomic(folder / zoo.CARD, json.dumps(plain(card), indent=1) + "\n")
    write_text_atomic(folder / zoo.PAGE, describe(card))
    return folder


def make_card(
    name: str, policy: SavedPolicy, config: Config, episodes: int, seed: int
) -> dict[str, Any]:
    """Score ``policy``, trained with ``config``, and say all there is to say about it."""
    returns, lengths, *_ = play_official(policy, episodes, seed)
    return {
        "name": name,
        "environment": policy.scored_in,
        "command": command(config),
        "env_steps": policy.scores.get("env_steps"),
        "num_parameters": policy.policy.num_params,
        "sha256": _file_hash(policy.path),
        "trained_with": policy.versions,
        "score": {**summarize(returns, lengths), "seed": seed, "versions": arithmetic()},
        "episode_returns": returns.tolist(),
        "config": asdict(config),
    }


def command(config: Config) -> str:
    """A command line that trains exactly ``config``, whatever is in the presets left out.

    Threads do not change results and are left to whoever runs it.
    """
    config = replace(config, num_threads=None)
    names = ("env", "estimator", "seed", "num_env_steps")
    given = {name: getattr(config, name) for name in names}
    for name in OPTIONS:
        if getattr(build_config(given), name) != getattr(config, name):
            given[name] = getattr(config, name)
    if build_config(given) != config:
        raise ValueError("no flags make this configuration; its preset has changed since")
    return shlex.join(["pes-rl", "train", *(w for item in given.items() for w in as_typed(*item))])


def arithmetic() -> dict[str, str | None]:
    """What returns depend on to the last digit: versions, and the kernels of the matrix product.

    A walking robot is chaotic: another kernel's rounding changes returns by a part in a thousand.
    """
    from threadpoolctl import threadpool_info

    kernels = {f"{i['internal_api']} {i.get('architecture')}" for i in threadpool_info()}
    return {**scoring_versions(), _KERNEL: ", ".join(sorted(kernels))}


def check(name: str, episodes: int = EPISODES) -> str | None:
    """What is wrong with the card of ``name``, or None.

    Replays its first episodes. With the card's versions and kernels every return must be the same
    to 1e-6; otherwise their mean must be within 1 % or four standard errors of the card's.
    """
    card, folder = zoo.card(name), zoo.find(name)
    if card["sha256"] != _file_hash(folder):
        return f"zoo/{name}: the card belongs to another policy file"
    score, episodes = card["score"], min(episodes, card["score"]["episodes"])
    returns = play_official(load_policy(folder), episodes, score["seed"]).returns
    if score["versions"] == arithmetic():
        expected = np.array(card["episode_returns"][:episodes])
        if not np.allclose(returns, expected, rtol=1e-6, atol=0):
            return f"zoo/{name}: returns {returns.tolist()}, the card has {expected.tolist()}"
        return None
    mean = score["episode_return_mean"]
    error = 4 * score["episode_return_std"] / math.sqrt(episodes)
    if abs(returns.mean() - mean) > max(error, 0.01 * abs(mean)):
        return f"zoo/{name}: mean return {returns.mean():.1f}, the card has {mean:.1f}"
    return None


def describe(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    name, score, config = card["name"], card["score"], card["config"]
    low, high = score["episode_return_interval"]
    first, last = score["seed"], score["seed"] + score["episodes"] - 1
    seen = "standardised" if config["normalize_observations"] else "as they are"
    rows = {
        "episode return": f"{score['episode_return_mean']:.1f}, standard deviation "
        f"{score['episode_return_std']:.1f}, 95 % interval of the mean {low:.1f} to {high:.1f}",
        "episode length": f"{score['episode_length_mean']:.1f}",
        "scored on": f"{score['episodes']} episodes with seeds {first} to {last}, which neither "
        "training nor the choice of this policy has seen",
        "policy": f"{config['policy']}, {card['num_parameters']} parameters, observations {seen}",
        "training": f"`{card['command']}`, with the presets of pes-rl "
        f"{card['trained_with']['pes_rl']}; the complete configuration is in `card.json`",
        "env steps": f"{card['env_steps']:,}, the best evaluation of that run",
        "trained with": _listed(card["trained_with"]),
        "scored with": _listed({k: v for k, v in score["versions"].items() if k != _KERNEL}),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return (
        f"# zoo/{name}\n\nA policy for Gymnasium's `{card['environment']}`, made by "
        f"`python -m benchmarks.zoo`.\n\n| | |\n|---|---|\n{table}\n\n"
        f"```bash\npes-rl evaluate zoo/{name} --episodes {score['episodes']} --seed {first}\n"
        f"pes-rl render zoo/{name} --out {name}.html\n```\n"
    )


def _listed(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _file_hash(folder: Path) -> str:
    return hashlib.sha256((folder / POLICY_FILE).read_bytes()).hexdigest()
