"""Parts whose seeds are trainings of a policy, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pes_rl.config import Config
from pes_rl.console import duration
from pes_rl.envs.make import available_threads
from pes_rl.errors import UserError
from pes_rl.reproductions.climbs import climb
from pes_rl.reproductions.paper import cost
from pes_rl.reproductions.paper.files import COST, read_rows, write_json, write_rows
from pes_rl.reproductions.paper.part import Ask, Part
from pes_rl.reproductions.paper.progress import Progress
from pes_rl.storage.run_folder import CHECKPOINTS
from pes_rl.training import memory
from pes_rl.training.protocol import Trainer

ENV_STEPS, RETURN = "env_steps", "return"


def train(config: Callable[[int], Config], part: Part, folder: Path, ask: Ask) -> None:
    """Go on with every seed's training, as far as is asked.

    Args:
      config: of a seed's training, on a host engine. No episode may end before its horizon: every
        update has the part's steps.
      part: whose seeds they are.
      folder: of the part.
      ask: what is asked of it.
    """
    if ask.chunk is not None:
        raise UserError(
            f"--particle-chunk {ask.chunk}: part {part.name!r} has no chunks; leave it out"
        )
    trainings = _Trainings(part, folder, ask)
    with Progress(part.name, trainings.last * len(part.seeds)) as bar:
        for index, seed in enumerate(part.seeds):
            if not ask.stop:
                trainings.go(index, config(seed), bar)


class _Trainings:
    """A part under way."""

    def __init__(self, part: Part, folder: Path, ask: Ask) -> None:
        self.part, self.folder, self.ask = part, folder, ask
        self.last = min(ask.num_updates or part.updates, part.updates)
        self.rows = read_rows(folder)
        self.memory, self.threads, self.made, self.began = 0, 0, 0, 0.0
        self.told = False

    @property
    def seconds(self) -> float:
        """What an update takes, and its share of the scores."""
        return (time.perf_counter() - self.began) / max(self.made, 1)

    def go(self, index: int, config: Config, bar: Progress) -> None:
        """Go on with one seed, and record what is known of all."""
        seed = self.part.seeds[index]
        found = climb(
            config,
            self.folder / CHECKPOINTS / f"seed-{seed}",
            begun=self._begun,
            scored=partial(self._scored, bar),
            over=partial(self._over, index, bar),
        )
        self.rows = [row for row in self.rows if row["seeds"] != [seed]]
        self.rows += [
            {
                "update": int(env_steps) // self.part.steps,
                "seeds": [seed],
                ENV_STEPS: [int(env_steps)],
                RETURN: [float(value)],
            }
            for env_steps, value in zip(found.env_steps, found.returns, strict=True)
        ]
        write_rows(self.folder, self.rows)
        spent = {
            "device": f"{self.threads} threads",
            "memory_predicted": self.memory,
            "memory_peak": cost.status("VmHWM"),
        }
        if self.made:
            spent["seconds_per_update_and_seed"] = self.seconds
        write_json(self.folder / COST, spent)

    def _begun(self, trainer: Trainer) -> None:
        """Compile, and say what it takes: once, since all seeds are alike."""
        if self.began:
            return
        trainer.compile(lambda remark: None)
        self.threads = trainer.config.num_threads or available_threads()
        # Simulators and programs are there by now, and a policy's state is nothing beside them.
        self.memory, self.began = cost.status("VmRSS") or 0, time.perf_counter()
        self.ask.note(
            f"{self.part.name}: {self.threads} threads, one seed after the other, predicted peak "
            f"{memory.text(self.memory)}"
        )

    def _over(self, index: int, bar: Progress, updates: int) -> bool:
        """Whether to stop, asked before every update of a seed."""
        if self.made:
            bar.update(index * self.last + updates, self.seconds)
        if self.ask.stop or updates >= self.last:
            return True
        self.made += 1
        return False

    def _scored(self, bar: Progress, env_steps: int, before: bool) -> None:
        """After the first updates, say how long all will take."""
        del env_steps
        if self.made and not before and not self.told:
            self.told = True
            left = self.part.updates * len(self.part.seeds) - self.made
            bar.note(
                f"{self.part.name}: {self.seconds:.3g} s an update, scores included, "
                f"{duration(self.seconds * left)} for the {left} updates of all seeds"
            )
