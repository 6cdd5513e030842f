"""``pes_rl.render``: play one episode and write it as a video, a picture or a page."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl import console
from pes_rl.errors import UserError, suggest
from pes_rl.rendering.picking import FIRST, check_pick, picked_seed
from pes_rl.storage.files import Place, as_path

if TYPE_CHECKING:
    from pes_rl.rendering.recording import Recording

_SMALLEST, _LARGEST = 16, 4096  # pixels


@dataclass(frozen=True)
class Format:
    """What a kind of file needs: its default size, and pictures a second where it moves."""

    size: tuple[int, int]
    usual_fps: float = 0.0  # at most, unless asked for more
    most_fps: int = 0
    even: bool = False

    @property
    def moves(self) -> bool:
        """Whether it is a clip rather than one picture."""
        return self.most_fps > 0


FORMATS: dict[str, Format | None] = {
    ".mp4": Format((640, 480), usual_fps=60, most_fps=120, even=True),
    # Browsers slow down a GIF whose pictures stay for less than two hundredths of a second.
    ".gif": Format((400, 300), usual_fps=15, most_fps=50),
    ".png": Format((960, 720)),
    ".html": None,  # the page draws for itself
}
_PALETTE_SAMPLES = 12


def render(
    path: Place,
    out: Place,
    *,
    episode_seed: int = 0,
    pick: str = FIRST,
    episodes: int | None = None,
    seconds: float | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | None = None,
    fps: int | None = None,
) -> dict[str, Any]:
    """Play one episode of a saved policy, as ``evaluate`` does, and write it to ``out``.

    Args:
      path: a run, its folder, a policy folder or ``zoo/NAME``.
      out: an ``.mp4``, ``.gif``, ``.png`` (the middle of the episode) or ``.html`` file, replaced
        when it is complete. The page needs no OpenGL.
      episode_seed: the episode is that of ``evaluate(path, episodes=1, seed=episode_seed)``.
      pick: ``best``, ``median`` or ``worst``: that of the episodes of
        ``evaluate(path, episodes, episode_seed)`` by its return, instead of the first.
      episodes: how many to pick from, 20 by default.
      seconds: a clip shows no more than the first so many seconds of the episode.
      width: pixels; 640 (mp4), 400 (gif) or 960 (png) by default.
      height: pixels; by default what ``width`` gives at 4:3, or in the environment's own shape.
      camera: a camera of the MuJoCo model; by default one that shows the whole body.
      fps: pictures a second. Clips always play in real time: frames are left out, or repeated.

    Returns:
      ``file``, ``environment``, ``estimator``, ``env_steps``, ``episode_seed``,
      ``episode_return``, ``episode_length``, ``versions``.

    Raises:
      UserError: there is no policy, a setting is wrong, the environment cannot be drawn, or the
        file cannot be written. A file that was there before is then still there.
    """
    out = as_path(out)
    style = _check(
        out, {"width": width, "height": height, "camera": camera, "fps": fps, "seconds": seconds}
    )
    episodes = check_pick(pick, episodes)
    out = out.absolute()  # environments may change the working directory
    from pes_rl.rendering.recording import record
    from pes_rl.storage.policy import load_policy

    policy = load_policy(path)
    with _placed(out):
        recording = record(policy, picked_seed(policy, pick, episodes, episode_seed))
        if style is None:
            from pes_rl.rendering.html import write_html

            write_html(recording, out)
        else:
            with _replaced(out) as temporary:
                _draw(recording, temporary, out, style, (width, height), camera, fps, seconds)
    return {"file": str(out), **recording.details}


def _check(out: Path, given: dict[str, Any]) -> Format | None:
    suffix = out.suffix.lower()
    if suffix not in FORMATS:
        hint = suggest(suffix, FORMATS, 0.7) or f"; choose from {', '.join(FORMATS)}"
        ending = f"the suffix {out.suffix!r}" if suffix else "no suffix"
        raise UserError(f"--out {out} has {ending}{hint}")
    style = FORMATS[suffix]
    useful = (
        () if style is None else ("width", "height", "camera", *("fps", "seconds") * style.moves)
    )
    for name, value in given.items():
        if value is not None and name not in useful:
            raise UserError(f"--{name} means nothing for {suffix} files; remove it")
    if style is None:
        return None
    for name in ("width", "height"):
        _check_pixels(name, given[name], style.even, suffix)
    if given["fps"] is not None and not 1 <= given["fps"] <= style.most_fps:
        raise UserError(f"--fps must be 1 to {style.most_fps} for {suffix}, not {given['fps']}")
    if given["seconds"] is not None and not 0 < given["seconds"] < math.inf:
        raise UserError(f"--seconds must be a positive number, not {given['seconds']}")
    return style


def _check_pixels(name: str, pixels: int | None, even: bool, suffix: str) -> None:
    if pixels is None:
        return
    if not _SMALLEST <= pixels <= _LARGEST:
        raise UserError(f"--{name} must be {_SMALLEST} to {_LARGEST} pixels, not {pixels}")
    if even and pixels % 2:
        raise UserError(f"--{name} must be even for {suffix}, not {pixels}; use {pixels + 1}")


def _draw(
    recording: Recording,
    file: Path,
    out: Path,
    style: Format,
    asked: tuple[int | None, int | None],
    camera: str | None,
    fps: int | None,
    seconds: float | None,
) -> None:
    from pes_rl.rendering.encode import write_gif, write_mp4, write_png
    from pes_rl.rendering.offscreen import pictures

    if recording.model is None and camera is not None:
        raise UserError(f"--camera {camera}: {recording.title} has no MuJoCo model; remove it")
    width, height = _size(style, recording.images, asked)

    def drawn(frames: Sequence[int]) -> Iterator[np.ndarray]:
        return pictures(recording, frames, width, height, camera)

    last = len(recording.rewards)
    if not style.moves:
        write_png(file, next(drawn([last // 2])), (width, height))
        return
    if seconds is not None:
        last = min(last, max(1, math.floor(seconds / recording.dt + 1e-9)))
    frames, rate = sample_frames(last, recording.dt, fps, style.usual_fps)
    shown = _with_progress(drawn(frames), len(frames), out.name)
    if out.suffix.lower() == ".mp4":
        write_mp4(file, shown, (width, height), rate)
        return
    samples = np.linspace(0, last, min(_PALETTE_SAMPLES, last + 1)).astype(int)
    write_gif(file, shown, drawn(list(samples)), (width, height), rate)


def _size(
    style: Format, images: np.ndarray | None, asked: tuple[int | None, int | None]
) -> tuple[int, int]:
    width, height = asked
    usual = style.size if images is None else (images.shape[2], images.shape[1])
    if width is None:
        width = usual[0] if height is None else round(height * usual[0] / usual[1])
    if height is None:
        height = round(width * usual[1] / usual[0])
    return (width + width % 2, height + height % 2) if style.even else (width, height)


def sample_frames(
    last: int, dt: float, fps: float | None, usual_fps: float
) -> tuple[list[int], float]:
    """Which of the frames 0 to ``last`` make a clip in real time, and its pictures a second.

    Without ``fps`` every n-th frame is taken, with the smallest n that keeps to ``usual_fps``:
    an even motion matters more than a round number.
    """
    if fps is None:
        every = max(1, int(np.ceil(1 / (dt * usual_fps) - 1e-9)))
        return list(range(0, last + 1, every)), 1 / (dt * every)
    count = int(np.floor(last * dt * fps + 1e-9)) + 1
    shown = np.floor(np.arange(count) / (fps * dt) + 1e-9).astype(int)
    return np.minimum(shown, last).tolist(), float(fps)


def _with_progress(drawn: Iterator[np.ndarray], total: int, label: str) -> Iterator[np.ndarray]:
    """Show a bar on a terminal; drawing without a GPU takes a while."""
    if not console.is_terminal():
        yield from drawn
        return
    from rich.progress import track

    yield from track(drawn, label, total, console=console.make_console(), transient=True)


@contextlib.contextmanager
def _placed(out: Path) -> Iterator[None]:
    """Create the folder of ``out`` for this block, and remove it again if the block fails."""
    import tempfile

    folder = out.parent
    missing = [p for p in (folder, *folder.parents) if not os.path.lexists(p)]
    made: list[Path] = []
    try:
        try:
            if out.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            for parent in reversed(missing):
                parent.mkdir(exist_ok=True)
                made.append(parent)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}") from error
        yield
    except BaseException:
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """A file to write, which then takes the place of ``out``; removed if this block fails."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, out)
    except BaseException as failure:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(failure, OSError):
            raise UserError(f"cannot write {out}: {failure.strerror}") from failure
        raise
