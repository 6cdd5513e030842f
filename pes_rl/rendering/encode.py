"""Turn pictures into files with the ffmpeg that imageio-ffmpeg brings along."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pes_rl.errors import UserError

# Every player opens 4:2:0 with its index in front; the colour tags keep greys grey. Looking ahead
# makes up in size for most of what the fast preset leaves out, at little cost.
_MP4 = [
    *("-c:v", "libx264", "-preset", "superfast", "-bf", "0", "-crf", "20", "-pix_fmt", "yuv420p"),
    *("-x264-params", "mbtree=1:rc-lookahead=10"),
    *("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"),
    *("-movflags", "+faststart", "-f", "mp4"),
]
_MP4_FILTER = "scale={}:out_color_matrix=bt709:out_range=tv,setsar=1"
_GIF_FILTER = "[0:v]scale={}[v];[v][1:v]paletteuse=dither=none:diff_mode=rectangle"


def write_mp4(
    path: Path, pictures: Iterable[np.ndarray], size: tuple[int, int], fps: float
) -> None:
    """Write an H.264 video of ``size`` (width, height; even) at ``fps`` pictures a second."""
    _encode(path, pictures, fps, ["-vf", _MP4_FILTER.format(_colons(size)), *_MP4])


def write_gif(
    path: Path,
    pictures: Iterable[np.ndarray],
    samples: Iterable[np.ndarray],
    size: tuple[int, int],
    fps: float,
) -> None:
    """Write an endlessly repeated GIF, its palette made from a few ``samples`` of the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        palette = Path(folder) / "palette.png"
        picture = ["-frames:v", "1", "-update", "1", "-f", "image2", "-c:v", "png"]
        _encode(palette, samples, 1, ["-vf", f"scale={_colons(size)},palettegen", *picture])
        graph = ["-i", str(palette), "-lavfi", _GIF_FILTER.format(_colons(size))]
        _encode(path, pictures, fps, [*graph, "-loop", "0", "-f", "gif"])


def write_png(path: Path, picture: np.ndarray, size: tuple[int, int]) -> None:
    """Write one picture of ``size`` (width, height)."""
    scaled = ["-vf", f"scale={_colons(size)}", "-frames:v", "1", "-update", "1"]
    _encode(path, [picture], 1, [*scaled, "-f", "image2", "-c:v", "png"])


def _colons(size: tuple[int, int]) -> str:
    return f"{size[0]}:{size[1]}"


def _encode(path: Path, pictures: Iterable[np.ndarray], fps: float, options: list[str]) -> None:
    """Pipe ``pictures`` (uint8 [H, W, 3], all of one size) through ffmpeg into ``path``."""
    feed = iter(pictures)
    first = next(feed)  # before ffmpeg starts: what cannot be drawn need not be encoded
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:.6f}"]
    command = [_ffmpeg(), "-v", "error", "-nostdin", "-y", *source, "-i", "pipe:0", *options]
    with tempfile.TemporaryFile() as log, _running([*command, str(path)], log) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # ffmpeg gave up, and says why in the log
            process.stdin.write(np.ascontiguousarray(first).data)
            for picture in feed:
                process.stdin.write(np.ascontiguousarray(picture).data)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        if process.wait() != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["ffmpeg failed"]
            reason = re.sub(r"^\[.*?\] ", "", lines[-1])  # which part of ffmpeg says it
            raise UserError(f"cannot encode the pictures: {reason}")


def _ffmpeg() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"no ffmpeg to encode with ({error}); install it with `pip install imageio-ffmpeg`, "
            "or write a page: --out FILE.html"
        ) from error


@contextlib.contextmanager
def _running(command: list[str], log: IO[bytes]) -> Iterator[subprocess.Popen]:
    """Start ``command`` for the duration of this block, and end it with the block."""
    # Its own session: Ctrl-C is for this process, which then ends it.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
