"""Pictures of a recorded episode, one at a time: a long video never lies in memory."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pes_rl.rendering.camera import Shot, plan_shot
from pes_rl.rendering.gl import missing, open_context
from pes_rl.rendering.recording import Recording
from pes_rl.rendering.smoothing import smooth
from pes_rl.rendering.style import illuminate, restyled

_MAX_GEOMS = 10_000


def pictures(
    recording: Recording,
    frames: Sequence[int],
    width: int,
    height: int,
    camera: str | None = None,
) -> Iterator[np.ndarray]:
    """The frames numbered ``frames`` as uint8 [height, width, 3], drawn as they are asked for.

    The environment's own images come in their own size. Raises UserError without OpenGL, or for
    a camera that the model does not have. A lone picture is drawn from four samples a pixel; those
    of a clip from one, and smoothed, in half the time.
    """
    if recording.model is None:
        assert recording.images is not None
        for frame in frames:
            yield np.asarray(recording.images[frame])
        return
    shot = plan_shot(recording, width / height, camera)
    with _Studio(recording, shot, width, height, clip=len(frames) > 1) as studio:
        for frame in frames:
            yield studio.draw(frame)


class _Studio(contextlib.AbstractContextManager):
    """Draws the frames of a recording in an OpenGL context of its own.

    ``mujoco.Renderer`` is tied to the OpenGL library that was chosen when MuJoCo was imported.
    """

    def __init__(
        self, recording: Recording, shot: Shot, width: int, height: int, clip: bool
    ) -> None:
        import mujoco

        self._recording, self._shot, self._clip = recording, shot, clip
        self._model = restyled(recording.model, shot.distance, samples=0 if clip else 4)
        self._model.vis.global_.offwidth = width
        self._model.vis.global_.offheight = height
        self._data, self._option = mujoco.MjData(self._model), mujoco.MjvOption()
        self._scene = mujoco.MjvScene(self._model, _MAX_GEOMS)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._gl = open_context(width, height)
        try:
            self._context: Any = mujoco.MjrContext(
                self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value
            )
        except mujoco.FatalError as error:
            self._gl.free()
            raise missing(str(error)) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def __exit__(self, *exception: object) -> None:
        self._context.free()
        self._gl.free()

    def draw(self, frame: int) -> np.ndarray:
        import mujoco

        model, data, scene = self._model, self._data, self._scene
        self._recording.pose(frame, model, data)
        mujoco.mj_forward(model, data)
        view, category = self._shot.at(frame), mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._option, None, view, category, scene)
        illuminate(scene, model, self._shot.lookat[frame])
        picture = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_render(self._rect, scene, self._context)
        mujoco.mjr_readPixels(picture, None, self._rect, self._context)
        if self._clip:
            smooth(picture)
        return np.flipud(picture)  # OpenGL counts rows from below
