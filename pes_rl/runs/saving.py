"""The policy that a trainer has now, as a folder of its own."""

from __future__ import annotations

from pathlib import Path

from pes_rl.storage.policy import save_policy
from pes_rl.training.protocol import Trainer


def save_trained(trainer: Trainer, path: Path, episode_return: float | None) -> None:
    """Write the trainer's policy to ``path``, with what it evaluated at, if it has been."""
    config = trainer.config
    environment = config.environment
    save_policy(
        path,
        trainer.policy,
        trainer.theta,
        trainer.normalizer if config.normalize_observations else None,
        trainer.action,
        {
            "name": environment.name,
            "gymnasium_id": environment.gymnasium_id,
            "engine": config.engine,
            "backend": config.backend,
            "horizon": config.episode_length,
            "kwargs": dict(environment.kwargs),
            "wrappers": environment.wrappers,
        },
        {"env_steps": trainer.env_steps, "episode_return": episode_return},
        trainer.observation,
        trainer.action_shape,
    )
