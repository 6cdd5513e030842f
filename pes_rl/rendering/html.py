"""One self-contained HTML page of an episode: 3-D viewer, timeline, reward trace, no network.

The page forbids itself every network access by a Content-Security-Policy that allows exactly the
one script and the one style sheet inside it, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import string
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pes_rl.errors import UserError
from pes_rl.rendering.scene import describe_scene, pack
from pes_rl.storage.files import plain, write_text_atomic

if TYPE_CHECKING:
    from pes_rl.rendering.recording import Recording

_VIEWER = files("pes_rl.rendering") / "viewer"
_SCRIPTS = ("data.js", "stage.js", "photos.js", "chart.js", "player.js")
_PHOTO_SIDE = 640  # longest side of an embedded photograph, pixels
_PHOTO_BUDGET = 12_000_000  # bytes of all photographs together; beyond it frames are left out
_PHOTO_QUALITY = 82


def write_html(recording: Recording, path: Path) -> None:
    """Write ``recording`` as one HTML file that needs nothing else, replacing ``path`` at a stroke.

    Raises UserError when the disk refuses; a file that was there before is then still there.
    """
    try:
        write_text_atomic(Path(path), page(recording))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def page(recording: Recording) -> str:
    """The HTML text of ``recording``."""
    script, style = _script(recording.model is not None), _read("style.css")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return string.Template(_read("page.html")).substitute(
        policy=policy,
        title=html.escape(recording.title),
        style=style,
        data=_json(_data(recording)),
        script=script,
    )


def _data(recording: Recording) -> dict[str, Any]:
    """What the page's script reads; ``player.js`` documents each key where it uses it."""
    rewards = np.nan_to_num(np.asarray(recording.rewards, np.float64), posinf=0.0, neginf=0.0)
    data = {
        "title": recording.title,
        "details": _rows(recording.details),
        "dt": recording.dt,
        "frames": len(rewards) + 1,
        "rewards": pack(rewards, "<f8"),
    }
    if recording.model is not None:
        return data | {"scene": describe_scene(recording)}
    if recording.images is None:
        raise ValueError("a recording has a model or images")
    return data | {"photos": _photos(recording.images)}


def _script(three: bool) -> str:
    """The page's one script: every part in one closure, so that nothing leaks to the page."""
    library = [f"/*\n{_read('three.LICENSE.txt')}*/", _read("three.bundle.js")] if three else []
    own = [_read(name) for name in _SCRIPTS if three or name != "stage.js"]
    return "\n".join(['(() => {\n"use strict";', *library, *own, "})();\n"])


def _read(name: str) -> str:
    return (_VIEWER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: Any) -> str:
    """Strict JSON that cannot end, or open, a tag of the page around it."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)  # ASCII only
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _rows(details: Mapping[str, Any]) -> list[list[str]]:
    """``details`` as [label, text] pairs in reading form."""
    rows = []
    for key, value in plain(details).items():
        if value is None:
            continue
        label = key.replace("_", " ")
        rows.append([label[:1].upper() + label[1:], _text(value, "seed" not in key)])
    return rows


def _text(value: Any, grouped: bool = True) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item, grouped)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item, grouped) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, int):
        return f"{value:,}" if grouped else str(value)
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _photos(images: np.ndarray) -> dict[str, Any]:
    """``images`` [F, H, W, 3] encoded small enough for one page; every ``stride``-th is kept."""
    from PIL import Image

    height, width = images.shape[1:3]
    shrink = min(1.0, _PHOTO_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))

    def encode(frame: np.ndarray, kind: str) -> bytes:
        picture = Image.fromarray(frame)
        if size != (width, height):
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, kind, quality=_PHOTO_QUALITY)
        return buffer.getvalue()

    # Flat graphics are smaller and sharper as PNG, renderings far smaller as JPEG.
    samples = images[np.linspace(0, len(images) - 1, 5).astype(int)]
    sizes = {kind: sum(len(encode(s, kind)) for s in samples) / 5 for kind in ("PNG", "JPEG")}
    kind = min(sizes, key=lambda kind: sizes[kind])
    stride = max(1, int(np.ceil(sizes[kind] * len(images) / _PHOTO_BUDGET)))
    notes = [f"One picture in {stride} is shown, to keep the page small."] if stride > 1 else []
    return {
        "notes": notes,
        "type": f"image/{kind.lower()}",
        "width": size[0],
        "height": size[1],
        "stride": stride,
        "frames": [base64.b64encode(encode(f, kind)).decode() for f in images[::stride]],
    }
