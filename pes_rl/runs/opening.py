"""A run folder that is to be continued: its configuration, its newest checkpoint, what differs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pes_rl.config import FREE, Config, change, load_config, save_config
from pes_rl.console import warn
from pes_rl.errors import UserError
from pes_rl.storage.checkpoint import Checkpoint, has_checkpoint, load_latest
from pes_rl.storage.run_folder import (
    BEST_POLICY,
    CONFIG,
    LAST_POLICY,
    METRICS,
    clear_leftovers,
    read_properties,
    read_versions,
    versions,
    write_exact_resume,
    write_properties,
    write_provenance,
)
from pes_rl.training.protocol import Trainer

_SHOWN = 60  # characters of a value in a message


def open_run(path: Path, changes: Mapping[str, Any]) -> tuple[Config, Checkpoint | None]:
    """The configuration with the ``changes``, and the newest checkpoint if any.

    There is none where a run was killed before its first one, so before its first update.
    Raises UserError where checkpoints were lost, or another configuration made them.
    """
    written = _load_config(path)
    config = change(written, changes)
    if not has_checkpoint(path) and not _has_results(path):
        return config, None
    checkpoint = load_latest(path)
    _refuse_edits(path, written, checkpoint, changes)
    trained, budget = checkpoint.meta["env_steps"], changes.get("num_env_steps")
    # A run ends a little past its budget, and whoever asks for the same once more asks for nothing.
    own = checkpoint.meta.get("config", {}).get("num_env_steps")
    if budget is not None and budget < trained and budget != own:
        raise UserError(
            f"--num-env-steps {budget} is less than the {trained} that {path} has trained; "
            "give more to extend it"
        )
    for skipped in checkpoint.skipped:
        warn(f"skipped a damaged checkpoint: {skipped}")
    return config, checkpoint


def note_opened(
    path: Path,
    changed: Config | None,
    command: str,
    trainer: Trainer,
    checkpoint: Checkpoint | None,
) -> None:
    """Note in the run folder that the run goes on, and say what is not as it was."""
    clear_leftovers(path)
    if checkpoint is None:
        write_exact_resume(path, trainer.exact_resume)
    elif not trainer.exact_resume:
        warn("this engine cannot restore its environments; every pair starts a new episode")
    if changed is not None:
        _record_changes(path, trainer.env_steps, changed)
        save_config(changed, path / CONFIG)
    for version in write_provenance(path, command):
        warn(f"version changed since the run began: {version}")
    saved = checkpoint.meta.get("num_shares") if checkpoint else None
    if saved not in (None, trainer.num_shares):
        warn(
            f"the pairs were in {saved} parts (devices or processes) and are in "
            f"{trainer.num_shares} now; the run continues, but not bit for bit"
        )


def config_from(values: dict[str, Any]) -> Config:
    """A configuration as another process has sent it."""
    return Config(**{**values, "hidden_sizes": tuple(values["hidden_sizes"])})


def _has_results(path: Path) -> bool:
    """Whether there are rows or policies, which come after the first checkpoint."""
    metrics = path / METRICS
    rows = os.path.isfile(metrics) and os.path.getsize(metrics) > 0
    return rows or any(os.path.lexists(path / name) for name in (BEST_POLICY, LAST_POLICY))


def _record_changes(path: Path, env_steps: int, changed: Config) -> None:
    """Add to the run's history what ``changed`` has other than its ``config.yaml``."""
    before, after = (asdict(config) for config in (_load_config(path), changed))
    differing = {name: [before[name], after[name]] for name in after if after[name] != before[name]}
    if differing:
        changes = read_properties(path).get("changes", [])
        write_properties(path, changes=[*changes, {"env_steps": env_steps, **differing}])


def _refuse_edits(
    path: Path, written: Config, checkpoint: Checkpoint, given: Mapping[str, Any]
) -> None:
    """Raise UserError if ``config.yaml`` is not what the checkpoint was trained with.

    It may be ahead of it by what was changed when the run was resumed from there. What no update
    depends on, and is not given now, is told of. Checkpoints of earlier versions do not say what
    they were trained with.
    """
    trained, recorded = checkpoint.meta.get("config", {}), {}
    for changes in read_properties(path).get("changes", []):
        recorded |= changes
    for name, value in asdict(written).items():
        if name in given or name not in trained:
            continue
        now, then = (json.dumps(x, sort_keys=True) for x in (value, trained[name]))
        if now == then or value == recorded.get(name, [value, None])[1]:
            continue
        if name in FREE:
            warn(f"{path / CONFIG} has {name} {now}, the newest checkpoint {then}; the file counts")
            continue
        raise UserError(
            f"{path / CONFIG} was edited: {name} is {_short(now)}, but the run was trained "
            f"with {_short(then)}; put that back, or start a new run with --config"
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _load_config(path: Path) -> Config:
    """A run's configuration; an error says so if another version of pes-rl wrote it."""
    try:
        return load_config(path / CONFIG)
    except UserError as error:
        made_by = read_versions(path).get("pes_rl")
        if made_by in (None, versions()["pes_rl"]):
            raise
        raise UserError(
            f"run made by an incompatible version: {error} (made by pes-rl {made_by}, "
            f"this is {versions()['pes_rl']})"
        ) from error
