"""``pes-rl render``: watch a saved policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pes_rl.config.values import count, number
from pes_rl.errors import UserError

HELP: str = "play one episode of a trained policy, as a video, a picture, a page or in a window"

_EXAMPLES = """\
The episode is the one that `pes-rl evaluate RUN --episodes 1 --seed N` scores, or the best, median
or worst of several. A page (.html) is interactive and needs neither OpenGL nor a network; the
others are drawn through EGL where there is no display. A picture (.png) shows the middle of the
episode."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `render`: the policy, where the result goes, and how it looks."""
    parser.usage = "pes-rl render RUN --out FILE [flags]\n       pes-rl render RUN --live [flags]"
    parser.epilog = _EXAMPLES
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder, policy or zoo/NAME")
    parser.add_argument("--out", metavar="FILE", type=Path, help="a .mp4, .gif, .png or .html file")
    parser.add_argument("--live", action="store_true", default=False, help="show it in a window")
    parser.add_argument("--episode-seed", metavar="INT", default="0", help="default: 0")
    parser.add_argument(
        "--pick",
        metavar="{first,best,median,worst}",
        help="the episode with that return, of those with this seed and the next; default: first",
    )
    parser.add_argument("--episodes", metavar="INT", help="how many --pick has, default: 20")
    parser.add_argument("--seconds", metavar="FLOAT", help="length of a clip; default: an episode")
    parser.add_argument(
        "--width", metavar="INT", help="pixels (default: mp4 640, gif 400, png 960)"
    )
    parser.add_argument("--height", metavar="INT", help="pixels (default: three quarters of that)")
    parser.add_argument("--camera", metavar="NAME", help="a camera of the MuJoCo model")
    parser.add_argument("--fps", metavar="INT", help="pictures a second; clips stay in real time")


def run(options: dict[str, Any], command: str) -> None:
    """Write the file, or show the window, and print what happened in the episode."""
    del command
    path, out, live = options.pop("run"), options.pop("out", None), options.pop("live")
    if (out is None) != live:
        problem = "cannot be combined" if live else "one of them is needed"
        raise UserError(f"--out FILE (.mp4, .gif, .png, .html) and --live: {problem}")
    settings: dict[str, Any] = {
        "episode_seed": count("--episode-seed", options.pop("episode_seed"), least=0)
    }
    if "camera" in options:
        settings["camera"] = options.pop("camera")
    if live and options:
        raise UserError(f"--{next(iter(options))} means nothing with --live; remove it")
    if "pick" in options:
        settings["pick"] = options.pop("pick")
    if "seconds" in options:
        settings["seconds"] = number("--seconds", options.pop("seconds"))
    for name, text in options.items():  # episodes, width, height, fps
        settings[name] = count(f"--{name}", text, least=1)
    if live:
        from pes_rl.rendering.live import watch

        result = watch(path, **settings)
    else:
        from pes_rl.rendering.output import render

        result = render(path, out, **settings)
    print(
        f"{result.get('file', 'window')}: {result['environment']}, episode seed "
        f"{result['episode_seed']}, return {result['episode_return']:.2f} in "
        f"{result['episode_length']} env steps"
    )
