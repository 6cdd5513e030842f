"""One episode of a policy, recorded as the poses (or pictures) that every output is made from."""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl.envs.packages import import_mujoco
from pes_rl.errors import UserError
from pes_rl.rendering.photographs import make_drawing, photograph, require_pictures
from pes_rl.runtime import single_threaded_math
from pes_rl.storage.saved_policy import SavedPolicy

if TYPE_CHECKING:
    import gymnasium

_DEFAULT_FPS = 30.0  # for environments that do not say how fast they run
_STATE = ("qpos", "qvel", "mocap_pos", "mocap_quat")
_PLACES = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "site_quat")


@dataclass(frozen=True)
class Recording:
    """One episode of a policy: F frames, one before each env step and one at the end.

    Attributes:
      title: the environment, ``HalfCheetah-v5`` or ``brax/halfcheetah``.
      model: ``mujoco.MjModel`` as the reset left it, or None where the environment has none.
      qpos: positions, float64 [F, nq] ([F, 0] without a model).
      qvel: velocities, float64 [F, nv].
      mocap_pos: positions of the bodies that the environment itself moves, float64 [F, nmocap, 3].
      mocap_quat: orientations of these, float64 [F, nmocap, 4].
      rewards: reward of each env step, float64 [F - 1].
      dt: seconds of simulated time per env step.
      images: uint8 [F, H, W, 3] when the environment can only be photographed, else None.
      details: what a viewer may be told: ``environment``, ``estimator`` and ``env_steps`` (None
        where not known), ``episode_seed``, ``episode_return``, ``episode_length``, ``versions``.
      moved: places in the model that the environment changed between the frames, by the name of
        their field (such as ``site_pos``), float64 [F, ...].
    """

    title: str
    model: Any
    qpos: np.ndarray
    qvel: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray
    rewards: np.ndarray
    dt: float
    images: np.ndarray | None
    details: dict[str, Any]
    moved: Mapping[str, np.ndarray] = field(default_factory=dict)

    def pose(self, frame: int, model: Any, data: Any) -> None:
        """Set a copy of the model, and its data, to ``frame``; what follows is MuJoCo's to say."""
        for name in _STATE:
            getattr(data, name)[:] = getattr(self, name)[frame]
        for name, values in self.moved.items():
            getattr(model, name)[:] = values[frame]


def record(policy: SavedPolicy, episode_seed: int = 0) -> Recording:
    """Play one episode where ``evaluate`` does, and keep every frame.

    Raises UserError where the environment cannot be made, or has neither a model nor pictures.
    """
    from pes_rl.envs.gymnasium_make import make_env

    about = policy.environment
    origin = about["gymnasium_id"], about.get("kwargs"), about.get("wrappers")
    with single_threaded_math():
        if about["engine"] == "jax":
            raise UserError(f"cannot draw {about['name']}: JAX environments draw no pictures")
        if about["gymnasium_id"] is None:
            return _record_brax(policy, episode_seed)
        with contextlib.closing(make_env(*origin)) as env:
            observation, _ = env.reset(seed=episode_seed)  # which may be what makes the model
            if _simulation(env) is not None:
                return _record_poses(policy, env, observation, episode_seed)
            require_pictures(env, policy.scored_in)
        with contextlib.closing(make_drawing(*origin)) as env:
            return _record_images(policy, env, episode_seed)


def _simulation(env: gymnasium.Env) -> tuple[Any, Any] | None:
    """The environment's MuJoCo model and its data, or None where it does not have both."""
    mujoco = import_mujoco()
    inner: Any = env.unwrapped
    model, data = (getattr(inner, name, None) for name in ("model", "data"))
    with contextlib.suppress(AttributeError):  # dm_control wraps both
        physics = inner._env.physics
        model, data = physics.model.ptr, physics.data.ptr
    both = isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)
    return (model, data) if both else None


def _record_poses(
    policy: SavedPolicy, env: gymnasium.Env, observation: Any, episode_seed: int
) -> Recording:
    from pes_rl.evaluation.official import play

    simulation = _simulation(env)
    assert simulation is not None
    model = copy.copy(simulation[0])  # the next reset may change it, and so may an env step
    frames, times, rewards = [_snapshot(*simulation, {})], [simulation[1].time], []
    for step in play(policy, env, observation):
        rewards.append(step.reward)
        now = _simulation(env)
        if now is None or now[0] is not simulation[0]:
            raise UserError(
                f"cannot draw {policy.environment['gymnasium_id']}: it replaces its MuJoCo model "
                "within an episode; replace it in reset() alone"
            )
        frames.append(_snapshot(*now, frames[-1]))
        times.append(now[1].time)
    series = {name: [frame[name] for frame in frames] for name in frames[0]}
    moved = {
        name: _finite(series[name])
        for name in _PLACES
        if any(values is not series[name][0] for values in series[name])
    }
    state = {name: _finite(series[name]) for name in _STATE}
    clock = round(float(np.median(np.diff(times))), 9)  # an unstable simulation sets it back
    dt = _positive(clock, getattr(env.unwrapped, "dt", None)) or _frame_seconds(env)
    return _finish(policy, model, state, rewards, dt, None, episode_seed, moved)


def _snapshot(model: Any, data: Any, before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a frame is posed by; places in the model are the arrays of ``before`` if unchanged."""
    kept = {name: getattr(data, name).copy() for name in _STATE}
    for name in _PLACES:
        now = getattr(model, name)
        same = name in before and np.array_equal(now, before[name])
        kept[name] = before[name] if same else now.copy()
    return kept


def _finite(values: Sequence[np.ndarray]) -> np.ndarray:
    """One array; an unstable simulation may hold one frame that is no number before its reset."""
    return np.nan_to_num(np.array(values, np.float64), posinf=0.0, neginf=0.0)


def _positive(*candidates: Any) -> float:
    """The first candidate that is a positive, finite number, or 0."""
    for value in candidates:
        with contextlib.suppress(TypeError, ValueError):
            if 0 < float(value) < math.inf:
                return float(value)
    return 0.0


def _frame_seconds(env: gymnasium.Env) -> float:
    """How long a picture stays, by what the environment says of itself or else as is usual."""
    return 1 / (_positive(env.metadata.get("render_fps")) or _DEFAULT_FPS)


def _record_brax(policy: SavedPolicy, episode_seed: int) -> Recording:
    """Record poses on Brax, whose pipelines all keep MuJoCo's coordinates of their model."""
    from pes_rl.envs.brax_engine import brax_model
    from pes_rl.evaluation.own import own_episodes

    name, backend = policy.environment["name"], policy.environment["backend"]
    model, dt = brax_model(name, backend)
    moments = list(own_episodes(policy, 1, episode_seed))
    start = import_mujoco().MjData(model)  # Brax moves no mocap bodies
    state = {
        "qpos": _finite([moment.state.q[0] for moment in moments]),
        "qvel": _finite([moment.state.qd[0] for moment in moments]),
        "mocap_pos": np.tile(start.mocap_pos, (len(moments), 1, 1)),
        "mocap_quat": np.tile(start.mocap_quat, (len(moments), 1, 1)),
    }
    rewards = [float(moment.reward[0]) for moment in moments[1:]]
    return _finish(policy, model, state, rewards, dt, None, episode_seed)


def _record_images(policy: SavedPolicy, env: gymnasium.Env, episode_seed: int) -> Recording:
    from pes_rl.evaluation.official import play

    name = policy.environment["gymnasium_id"]
    observation, _ = env.reset(seed=episode_seed)
    rewards: list[float] = []
    # A thousand pictures may be a gigabyte: they go to disk, and are mapped from there.
    with tempfile.TemporaryFile() as file:
        shape = photograph(env, name, file)
        for step in play(policy, env, observation):
            rewards.append(step.reward)
            if photograph(env, name, file) != shape:
                raise UserError(f"{name} changes its picture size")
        file.flush()
        images = np.memmap(file, np.uint8, "r", shape=(len(rewards) + 1, *shape))
    state = {name: np.zeros((len(images), 0)) for name in _STATE}
    return _finish(policy, None, state, rewards, _frame_seconds(env), images, episode_seed)


def _finish(
    policy: SavedPolicy,
    model: Any,
    state: dict[str, np.ndarray],
    rewards: list[float],
    dt: float,
    images: np.ndarray | None,
    episode_seed: int,
    moved: Mapping[str, np.ndarray] | None = None,
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
    return Recording(
        title=title,
        model=model,
        **state,
        rewards=array,
        dt=dt,
        images=images,
        details=details,
        moved=moved or {},
    )


def _estimator(policy_folder: Path) -> str | None:
    """The estimator that trained the policy, if its card or the run around it says."""
    from pes_rl.config.values import read_yaml
    from pes_rl.storage.files import read_json
    from pes_rl.storage.run_folder import CONFIG, run_of
    from pes_rl.zoo import CARD

    with contextlib.suppress(KeyError, TypeError, IndexError):
        return (read_json(policy_folder / CARD) or {})["config"]["estimator"]
    with contextlib.suppress(UserError, KeyError, IndexError):
        return read_yaml(run_of(policy_folder) / CONFIG, CONFIG)["estimator"]
    return None
