"""Watch a policy in a window, in real time, until the window is closed."""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pes_rl.envs.packages import import_mujoco
from pes_rl.errors import UserError
from pes_rl.rendering.gl import has_display
from pes_rl.rendering.style import restyled
from pes_rl.storage.files import Place

if TYPE_CHECKING:
    from pes_rl.rendering.camera import Shot
    from pes_rl.rendering.recording import Recording

_PAUSE_S = 0.5  # between the end of the episode and its repetition
_CLOSE_S = 5.0


def watch(path: Place, *, episode_seed: int = 0, camera: str | None = None) -> dict[str, Any]:
    """Repeat one episode of a saved policy in MuJoCo's viewer; returns when it is closed.

    Args:
      path: a run, its folder, a policy folder or ``zoo/NAME``.
      episode_seed: the episode is that of ``evaluate(path, episodes=1, seed=episode_seed)``.
      camera: a camera of the MuJoCo model; by default the mouse moves one around the body.

    Returns the ``details`` of the recording.

    Raises UserError without a display, a policy, or a MuJoCo model.
    """
    if not has_display():
        raise UserError("--live needs a display; without one write a page: --out FILE.html")
    import_mujoco()
    from pes_rl.rendering.camera import plan_shot
    from pes_rl.rendering.recording import record
    from pes_rl.storage.policy import load_policy

    recording = record(load_policy(path), episode_seed)
    if recording.model is None:
        raise UserError(f"--live shows MuJoCo models, and {recording.title} has none; use --out")
    shot = plan_shot(recording, 4 / 3, camera)
    _show(recording, shot)
    return recording.details


def _show(recording: Recording, shot: Shot) -> None:
    import mujoco

    model = restyled(recording.model, shot.distance, endless=True)
    data = mujoco.MjData(model)
    with _window(model, data) as viewer:
        _point(viewer.cam, shot)
        while viewer.is_running():
            start = time.monotonic()
            for frame in range(len(recording.qpos)):
                if not viewer.is_running():
                    return
                with viewer.lock():
                    recording.pose(frame, model, data)
                    mujoco.mj_forward(model, data)
                    if shot.camera < 0:
                        viewer.cam.lookat[:] = shot.lookat[frame]
                viewer.sync()
                time.sleep(max(0.0, start + (frame + 1) * recording.dt - time.monotonic()))
            time.sleep(_PAUSE_S)


@contextlib.contextmanager
def _window(model: Any, data: Any) -> Iterator[Any]:
    """Open MuJoCo's viewer for this block; its thread has ended when the block has."""
    import mujoco.viewer

    _require_windows()
    before = set(threading.enumerate())
    try:
        viewer = mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
    except RuntimeError as error:  # on macOS only `mjpython` may open it
        raise _no_window(error) from error
    threads = set(threading.enumerate()) - before
    try:
        yield viewer
    finally:
        viewer.close()
        for thread in threads:  # it still draws, and would do so while Python shuts down
            thread.join(_CLOSE_S)


def _require_windows() -> None:
    """UserError where no window can be opened; MuJoCo's viewer would wait for it for ever."""
    import glfw

    with warnings.catch_warnings(record=True) as reasons:
        warnings.simplefilter("always")
        opened = glfw.init()
        glfw.terminate()
    if not opened:
        raise _no_window(reasons[0].message if reasons else "GLFW does not start")


def _no_window(reason: object) -> UserError:
    return UserError(f"cannot open a window ({reason}); write a page: --out FILE.html")


def _point(camera: Any, shot: Shot) -> None:
    first = shot.at(0)
    camera.type, camera.fixedcamid = first.type, first.fixedcamid
    camera.lookat[:], camera.distance = first.lookat, first.distance
    camera.azimuth, camera.elevation = first.azimuth, first.elevation
