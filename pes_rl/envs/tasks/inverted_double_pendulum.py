"""InvertedDoublePendulum: balance two stacked poles on a cart."""

from __future__ import annotations

from typing import Any

from pes_rl.envs.task import Array, Task
from pes_rl.envs.tasks.common import clip, track_nothing, uniform_normal_reset

TIP_SITE = 0


def observe(xp: Any, model: Any, data: Any) -> Array:
    """Cart position, sines (2) and cosines (2) of the angles, velocities (3), cart force (1).

    The force is that of the constraints; it and the velocities are limited to +-10.
    """
    del model
    angles = data.qpos[..., 1:]
    parts = (
        data.qpos[..., :1],
        xp.sin(angles),
        xp.cos(angles),
        clip(xp, data.qvel, -10.0, 10.0),
        clip(xp, data.qfrc_constraint[..., :1], -10.0, 10.0),
    )
    return xp.concatenate(parts, axis=-1)


def is_healthy(xp: Any, data: Any) -> Array:
    """Tip above 1 m."""
    del xp
    return ~(data.site_xpos[..., TIP_SITE, 2] <= 1.0)


def make(
    *, frame_skip: int = 5, healthy_reward: float = 10.0, reset_noise_scale: float = 0.1
) -> Task:
    """The task with Gymnasium's keyword arguments."""

    def reward(xp: Any, model: Any, before: Array, data: Any, action: Array) -> tuple[Array, Array]:
        """A constant while healthy, minus the tip's offset from (0, 2) m and the joints' speeds."""
        del model, before, action
        tip = data.site_xpos[..., TIP_SITE, :]
        x, height = tip[..., 0], tip[..., 2]
        lower, upper = data.qvel[..., 1], data.qvel[..., 2]
        healthy = is_healthy(xp, data)
        offset = 0.01 * x**2 + (height - 2.0) ** 2
        speed = 1e-3 * lower**2 + 5e-3 * upper**2
        return healthy_reward * healthy - offset - speed, ~healthy

    return Task(
        name="InvertedDoublePendulum",
        gymnasium_id="InvertedDoublePendulum-v5",
        model_file="inverted_double_pendulum.xml",
        frame_skip=frame_skip,
        horizon=1000,
        observation_size=9,
        num_uniforms=3,
        num_normals=3,
        reset=uniform_normal_reset(reset_noise_scale),
        observe=observe,
        track=track_nothing,
        reward=reward,
        is_healthy=is_healthy,
        fields=("site_xpos", "qfrc_constraint"),
    )
