"""Pictures of an environment that only draws itself, in whichever form it returns them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pes_rl.errors import UserError

if TYPE_CHECKING:
    import gymnasium

_MODE = "rgb_array"
_TAKES_NONE = ("argument 'render_mode'", "takes no arguments")  # a constructor without the mode
_FLOAT_RANGE = 2.0  # a float picture's greatest value below this: 0 to 1, and some rounding


def require_pictures(env: gymnasium.Env, name: str) -> None:
    """UserError unless ``env``, which has no MuJoCo model, says that it draws pictures."""
    modes = list(env.metadata.get("render_modes") or ())
    if _MODE not in modes:
        raise UserError(
            f"cannot draw {name}: it has no MuJoCo model, and its render modes {modes} lack "
            f"{_MODE!r}; add that to metadata['render_modes'] and return an array from render()"
        )


def make_drawing(
    name: str, kwargs: Mapping[str, Any] | None = None, wrappers: str | None = None
) -> gymnasium.Env:
    """The environment, told to draw pictures where its constructor can be told."""
    from pes_rl.envs.gymnasium_make import make_env

    try:
        env = make_env(name, kwargs, wrappers, render_mode=_MODE)
    except (TypeError, UserError) as error:
        if not any(reason in str(error) for reason in _TAKES_NONE):
            raise
        env = make_env(name, kwargs, wrappers)
    inner = env.unwrapped
    if getattr(inner, "render_mode", None) is None:  # the constructor does not keep it either
        with contextlib.suppress(AttributeError):
            inner.render_mode = _MODE
    return env


def photograph(env: gymnasium.Env, name: str, file: IO[bytes]) -> tuple[int, ...]:
    """Append a picture of the environment ``name`` to ``file``; returns its shape [H, W, 3]."""
    import gymnasium

    try:
        with warnings.catch_warnings():  # whether it will do is for `as_rgb` to say
            warnings.filterwarnings("ignore", module=r"gymnasium\.")
            picture: Any = env.render()
    except (gymnasium.error.Error, ImportError) as error:  # it says what to install
        raise UserError(f"cannot draw {name}: {error}") from error
    except Exception as error:  # the environment's own code raises whatever it meets
        problem = f"{type(error).__name__} {error}".strip()
        raise UserError(f"cannot draw {name}: its render() raises {problem}") from error
    image = as_rgb(picture)
    if image is None:
        shape = getattr(picture, "shape", None)
        kind = "None" if picture is None else type(picture).__name__
        raise UserError(
            f"cannot draw {name}: its render() returns {kind}{f' of shape {shape}' * bool(shape)}; "
            f"in mode {_MODE!r} return an array [height, width, 3] of uint8"
        )
    file.write(image.data)
    return image.shape


def as_rgb(picture: Any) -> np.ndarray | None:
    """A picture as uint8 [H, W, 3], contiguous; None for what is no picture.

    Grey [H, W] or [H, W, 1], RGB, and RGBA, whose opacity is dropped: often it says nothing.
    Floats go from 0 to 1 if none is far above, all other numbers from 0 to 255.
    """
    try:
        array = np.asarray(picture)
    except ValueError:
        return None
    if array.ndim == 2:
        array = array[..., None]
    kind, channels = array.dtype.kind, array.shape[-1] if array.ndim == 3 else 0
    if kind not in "buif" or channels not in (1, 3, 4) or not array.size:
        return None
    array = array[..., :3]
    if array.dtype != np.uint8:
        values = np.nan_to_num(array.astype(np.float64))
        unit = kind == "b" or (kind == "f" and values.max() < _FLOAT_RANGE)
        array = np.clip(np.rint(255 * values if unit else values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
