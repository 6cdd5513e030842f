"""One episode of a policy, recorded as the poses (or pictures) that every output is made from."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pes_rl.envs.packages import import_mujoco
from pes_rl.errors import UserError
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_DEFAULT_FPS = 30.0  # for environments that do not say how fast they run


@dataclass(frozen=True)
class Recording:
    """One episode of a policy: F frames, one before each env step and one at the end.

    Attributes:
      title: the environment, ``HalfCheetah-v5`` or ``brax/halfcheetah``.
      model: ``mujoco.MjModel``, or None where the environment has none.
      qpos: positions, float64 [F, nq] ([F, 0] without a model).
      qvel: velocities, float64 [F, nv].
      rewards: reward of each env step, float64 [F - 1].
      dt: seconds of simulated time per env step.
      images: uint8 [F, H, W, 3] when the environment can only be photographed, else None.
      details: what a viewer may be told: ``environment``, ``estimator`` and ``env_steps`` (None
        where not known), ``episode_seed``, ``episode_return``, ``episode_length``, ``versions``.
    """

    title: str
    model: Any
    qpos: np.ndarray
    qvel: np.ndarray
    rewards: np.ndarray
    dt: float
    images: np.ndarray | None
    details: dict[str, Any]


def record(policy: SavedPolicy, episode_seed: int = 0) -> Recording:
    """Play one episode where ``evaluate`` does, and keep every frame.

    Raises UserError where the environment cannot be made, or has neither a model nor pictures.
    """
    mujoco = import_mujoco()
    from pes_rl.envs.gymnasium_make import make_env

    about = policy.environment
    origin = about["gymnasium_id"], about.get("kwargs"), about.get("wrappers")
    with single_threaded_math():
        if about["gymnasium_id"] is None:
            return _record_brax(policy, episode_seed)
        with contextlib.closing(make_env(*origin)) as env:
            if isinstance(getattr(env.unwrapped, "model", None), mujoco.MjModel):
                return _record_poses(policy, env, episode_seed)
        with contextlib.closing(make_env(*origin, render_mode="rgb_array")) as env:
            return _record_images(policy, env, episode_seed)


def _record_poses(policy: SavedPolicy, env: gymnasium.Env, episode_seed: int) -> Recording:
    from pes_rl.evaluation import play

    inner: Any = env.unwrapped
    data = inner.data
    observation, _ = env.reset(seed=episode_seed)
    times, poses, rewards = [data.time], [(data.qpos.copy(), data.qvel.copy())], []
    for reward in play(policy, env, observation):
        rewards.append(reward)
        poses.append((data.qpos.copy(), data.qvel.copy()))
        times.append(data.time)
    # An unstable simulation may hold one frame that is not a number before MuJoCo resets it.
    qpos, qvel = (
        np.nan_to_num(np.array(part, np.float64), posinf=0.0, neginf=0.0)
        for part in zip(*poses, strict=True)
    )
    dt = round(float(np.median(np.diff(times))), 9)  # such a reset also sets the clock back
    return _finish(policy, inner.model, qpos, qvel, rewards, dt, None, episode_seed)


def _record_brax(policy: SavedPolicy, episode_seed: int) -> Recording:
    """Record poses on Brax, whose pipelines all keep MuJoCo's coordinates of their model."""
    from pes_rl.envs.brax_engine import brax_model
    from pes_rl.evaluation import own_episodes

    name, backend = policy.environment["name"], policy.environment["backend"]
    model, dt = brax_model(name, backend)
    moments = list(own_episodes(policy, 1, episode_seed))
    qpos, qvel = (
        np.nan_to_num(np.array([getattr(m.state, part)[0] for m in moments], np.float64))
        for part in ("q", "qd")
    )
    rewards = [float(moment.reward[0]) for moment in moments[1:]]
    return _finish(policy, model, qpos, qvel, rewards, dt, None, episode_seed)


def _record_images(policy: SavedPolicy, env: gymnasium.Env, episode_seed: int) -> Recording:
    from pes_rl.evaluation import play

    observation, _ = env.reset(seed=episode_seed)
    rewards: list[float] = []
    # A thousand pictures may be a gigabyte: they go to disk, and are mapped from there.
    with tempfile.TemporaryFile() as file:
        shape = _photograph(env, file)
        for reward in play(policy, env, observation):
            rewards.append(reward)
            if _photograph(env, file) != shape:
                raise UserError(f"{policy.environment['gymnasium_id']} changes its picture size")
        file.flush()
        images = np.memmap(file, np.uint8, "r", shape=(len(rewards) + 1, *shape))
    none = np.zeros((len(rewards) + 1, 0))
    dt = 1 / float(env.metadata.get("render_fps") or _DEFAULT_FPS)
    return _finish(policy, None, none, none, rewards, dt, images, episode_seed)


def _photograph(env: gymnasium.Env, file: IO[bytes]) -> tuple[int, ...]:
    """Append a picture of the environment to ``file``; returns its shape [H, W, 3]."""
    import gymnasium

    name = env.spec.id if env.spec else "the environment"
    try:
        image = env.render()
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(f"cannot picture {name}: {error}") from error
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
        raise UserError(f"{name} cannot be rendered: it has no MuJoCo model and draws no pictures")
    file.write(np.ascontiguousarray(image, np.uint8).data)
    return image.shape


def _finish(
    policy: SavedPolicy,
    model: Any,
    qpos: np.ndarray,
    qvel: np.ndarray,
    rewards: list[float],
    dt: float,
    images: np.ndarray | None,
    episode_seed: int,
) -> Recording:
    title = policy.scored_in
    array = np.array(rewards, np.float64)
    details = {
        "environment": title,
        "estimator": _estimator(policy.path),
        "env_steps": policy.scores.get("env_steps"),
        "episode_seed": episode_seed,
        "episode_return": float(np.cumsum(array)[-1]),  # in order, as evaluate adds them
        "episode_length": len(rewards),
        "versions": policy.versions,
    }
    return Recording(title, model, qpos, qvel, array, dt, images, details)


def _estimator(policy_folder: Path) -> str | None:
    """The estimator that trained the policy, if its card or the run around it says."""
    import yaml

    from pes_rl.storage.run_folder import CONFIG, run_of
    from pes_rl.zoo import CARD

    unreadable = (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError)
    with contextlib.suppress(*unreadable):
        return json.loads((policy_folder / CARD).read_text())["config"]["estimator"]
    with contextlib.suppress(*unreadable):
        return yaml.safe_load((run_of(policy_folder) / CONFIG).read_text())["estimator"]
    return None
