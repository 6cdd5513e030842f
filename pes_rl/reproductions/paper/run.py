"""Running a part in its folder: it can be stopped at any update, and goes on bit for bit."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from pes_rl.console import duration
from pes_rl.errors import UserError
from pes_rl.reproductions.paper import cost
from pes_rl.reproductions.paper.engine import Engine, spread_over
from pes_rl.reproductions.paper.files import (
    COST,
    RESULT,
    outcome,
    read_rows,
    write_json,
    write_rows,
)
from pes_rl.reproductions.paper.part import Ask, Outcome, Part
from pes_rl.reproductions.paper.progress import Progress
from pes_rl.storage.checkpoint import (
    flatten,
    has_checkpoint,
    load_latest,
    save_checkpoint,
    unflatten,
)
from pes_rl.storage.files import plain
from pes_rl.storage.run_folder import CHECKPOINTS, lock_run
from pes_rl.training import memory

_CALL_S, _SAVE_S = 5.0, 600.0  # about how long a call may be, and how old a checkpoint


def run_part(part: Part, folder: Path, ask: Ask) -> Outcome:
    """Go on with a part until it is complete, ``num_updates`` are made, or it is asked to stop."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_run(folder):
        found = outcome(part, folder)
        if found.complete:
            ask.note(f"{part.name}: complete")
            return found
        if part.train is not None:
            part.train(part, folder, ask)
        else:
            _Run(part, folder, ask).go()
        if ask.stop or (ask.num_updates or part.updates) < part.updates:
            return outcome(part, folder)
        write_json(folder / RESULT, plain(part.judge(read_rows(folder))))
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return outcome(part, folder)


class _Run:
    """A part under way. Seeds that do not fit side by side follow each other."""

    def __init__(self, part: Part, folder: Path, ask: Ask) -> None:
        self.part, self.folder, self.ask = part, folder, ask
        self.before = load_latest(folder) if has_checkpoint(folder) else None
        meta = self.before.meta if self.before else {}
        if self.before and meta["settings"] != plain(part.settings):
            raise UserError(f"{folder} was begun with other settings; name another --out")
        self.last = min(ask.num_updates or part.updates, part.updates)
        mesh, spread = spread_over(part, ask.chunk)
        assert part.make is not None
        self.program = part.make(spread)
        self.together = meta.get("together") or len(part.seeds)
        self.first, self.updates = meta.get("first", 0), meta.get("updates", 0)
        self.rows = read_rows(folder)[: meta.get("rows", 0)]
        self.mesh, self.seconds = mesh, 0.0
        self.engine = self._fitting()

    def _compiled(self) -> Engine:
        return Engine(self.program, self.part.seeds[self.first :][: self.together], self.mesh)

    def _fitting(self) -> Engine:
        """An engine for all seeds side by side, or for one where memory will not do."""
        start, device = time.perf_counter(), self.mesh.devices.flat[0]
        # A checkpoint that was read is no part of the peak: the state takes its place.
        arrays = self.before.arrays.values() if self.before else ()
        read = sum(array.nbytes for array in arrays) if device.platform == "cpu" else 0
        engine, free = self._compiled(), cost.room(device)
        free = free and free + read
        if free and cost.needed(engine) > free and self.together > 1 and not self.before:
            self.together = 1
            engine = self._compiled()
        if free and cost.needed(engine) > free:
            raise cost.refuse(self.part, engine, self.ask.chunk)
        self.memory = cost.predicted(engine) - read
        self.ask.note(
            f"{self.part.name}: {self.mesh.size} x {device.device_kind}, {self.together} seed(s) "
            f"side by side, compiled in {time.perf_counter() - start:.0f} s, predicted peak "
            f"{memory.text(self.memory)}"
        )
        return engine

    def go(self) -> None:
        """Go through all seeds, or as far as is asked."""
        total = self.last * len(self.part.seeds)
        with Progress(self.part.name, total) as self.bar:
            while self.first < len(self.part.seeds) and not self.ask.stop:
                self._group()
                if self.updates < self.last or self.last < self.part.updates:
                    break
                self.first, self.updates = self.first + self.together, 0
                if self.first < len(self.part.seeds):
                    self.engine = self._compiled()

    def _group(self) -> None:
        """Train the present seeds."""
        part = self.part
        if self.before:
            state = self.engine.place(unflatten(self.engine.template, self.before.arrays))
            self.before = None  # as large as the state
        else:
            state = self.engine.begin()
        done, saved_at, count = self.updates, time.monotonic(), 1
        while self.updates < self.last and not self.ask.stop:
            left = min(self.last - self.updates, part.every - self.updates % part.every)
            start, now = time.perf_counter(), min(left, count)
            state = self.engine.advance(state, now)
            each = (time.perf_counter() - start) / now
            self._measured(each, self.updates == done)
            self.updates, count = self.updates + now, max(1, int(_CALL_S / each))
            if self.updates % part.every == 0 or self.updates == part.updates:
                state, seen = self.engine.look(state)
                seeds = part.seeds[self.first :][: self.together]
                self.rows.append({"update": self.updates, "seeds": list(seeds), **seen})
            if time.monotonic() - saved_at > _SAVE_S:
                self._save(state)
                saved_at = time.monotonic()
            # Updates of all seeds, those that have run before too.
            self.bar.update(self.first * self.last + self.together * self.updates, self.seconds)
        self._save(state)

    def _measured(self, each: float, first: bool) -> None:
        """Note what an update takes, and after the first one what all will."""
        self.seconds = each / self.together
        if first:
            groups = (len(self.part.seeds) - self.first) / self.together
            whole = each * (self.part.updates * groups - self.updates)
            self.bar.note(
                f"{self.part.name}: {each:.3g} s an update, {duration(whole)} for all "
                f"{self.part.updates} updates that are left of {len(self.part.seeds)} seeds"
            )

    def _save(self, state: Any) -> None:
        """Write rows, costs and a checkpoint."""
        write_rows(self.folder, self.rows)
        meta = {
            "settings": plain(self.part.settings),
            "together": self.together,
            "first": self.first,
            "updates": self.updates,
            "rows": len(self.rows),
        }
        done = self.first * self.part.updates + self.updates
        save_checkpoint(self.folder, done, flatten(state), meta, keep=1)
        spent = {
            "device": f"{self.mesh.size} x {self.mesh.devices.flat[0].device_kind}",
            "seconds_per_update_and_seed": self.seconds,
            "memory_predicted": self.memory,
            "memory_peak": cost.status("VmHWM"),
        }
        write_json(self.folder / COST, spent)
