"""What the end-to-end tests share: the command line in this process, and runs compared by bits."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from pes_rl import cli
from pes_rl.storage.checkpoint import load_latest
from pes_rl.storage.metrics import read_metrics

EVAL = (
    "eval/episode_return",
    "eval/episode_return_std",
    "eval/episode_length",
    "eval/episodes",
    "eval/broken_episodes",
)
TIMES = ("wall_time_s", "train/env_steps_per_second", "total/env_steps_per_second")
# Four particles of ten steps each: 40 env steps an update where nothing ends early.
SMALL = (
    "--num-pairs 2 --segment-length 10 --horizon 40 --eval-every 400 --eval-episodes 2 "
    "--checkpoint-every 300 --log-every 1 --num-threads 1 --num-env-steps 2000"
)


def train(flags: str, run_dir: Path | None = None) -> int:
    """``pes-rl train`` with ``flags``, split at blanks, in this process."""
    place = [] if run_dir is None else ["--run-dir", str(run_dir)]
    return cli.main(["train", *flags.split(), *place])


def resume(run: Path, flags: str = "") -> int:
    return cli.main(["train", "--resume", str(run), *flags.split()])


def rows(run: Path, without: tuple[str, ...] = TIMES) -> list[dict]:
    return [
        {key: value for key, value in row.items() if key not in without}
        for row in read_metrics(run)
    ]


def arrays(run: Path) -> dict[str, tuple]:
    """Everything the next update depends on, as it is in the newest checkpoint, by bits."""
    return {
        name: (array.dtype, array.shape, array.tobytes())
        for name, array in load_latest(run).arrays.items()
    }


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes, None for folders; the lock file aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class StopAfter(list):
    """What signals ask of a run: to stop, once it has been looked at so many times."""

    def __init__(self, looks):
        super().__init__([15])
        self.looks = looks

    def __bool__(self):
        self.looks -= 1
        return self.looks < 0
