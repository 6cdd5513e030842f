"""The experiments by name, and what runs one of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pes_rl.console import say
from pes_rl.errors import UserError, suggest
from pes_rl.reproductions.experiment import SIZES, Experiment, Paper, Report
from pes_rl.reproductions.paper.part import Part
from pes_rl.storage.files import Place, as_path, read_json

# In the order in which ``pes-rl reproduce --list`` shows them.
NAMES = (
    "influence-balancing",
    "toy-regression",
    "variance",
    "hyperparameters",
    "many-hyperparameters",
    "copy-task",
    "character-model",
    "learned-optimizer",
    "swimmer",
)


def load(name: str) -> Experiment:
    """The experiment of one of `NAMES`; imports its module. UserError if there is none."""
    if name not in NAMES:
        hint = suggest(name, NAMES) or f"; choose from {', '.join(NAMES)}"
        raise UserError(f"unknown experiment {name!r}{hint}")
    return import_module(f"pes_rl.reproductions.{name.replace('-', '_')}").EXPERIMENT


def reproduce(
    name: str,
    *,
    size: str = "reduced",
    out: Place | None = None,
    command: str = "",
    part: str | None = None,
    num_updates: int | None = None,
    particle_chunk: int | None = None,
    stop: Sequence[int] = (),
) -> Path:
    """Run one experiment and write its figures, ``result.json`` and ``claims.md``.

    Args:
      name: one of `NAMES`.
      size: ``quick``, under 90 seconds on two cores; ``reduced``; or ``paper``, in parts that can
        be stopped and go on where they were.
      out: folder to write in; default ``runs/reproductions/NAME`` (``NAME-SIZE``).
      command: the shell line, kept in ``result.json``.
      part: of the papers' size, the one part to run; all of them if None.
      num_updates: stop each part once so many updates have been made.
      particle_chunk: pairs unrolled at a time; all if None.
      stop: receives the number of a signal that asks to stop.

    Returns:
      The folder.

    Raises:
      UserError: the name or the part is unknown, the folder cannot be written, memory will not do.
    """
    experiment = load(name)
    if size not in SIZES:
        raise UserError(f"unknown size {size!r}; choose from {', '.join(SIZES)}")
    folder = default_folder(name, size) if out is None else as_path(out)
    paper = experiment.paper if size == "paper" else None
    if paper is not None:
        from pes_rl.reproductions.paper.engine import start_devices

        start_devices()
    chosen = _chosen(name, paper, part)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {str(folder)!r} is not a folder: {error.strerror}") from None
    report = Report(name, folder, say)
    if paper is None:
        experiment.run(size == "quick", report)
    else:
        from pes_rl.reproductions.paper.files import outcome
        from pes_rl.reproductions.paper.part import Ask
        from pes_rl.reproductions.paper.run import run_part

        ask = Ask(stop, say, num_updates, particle_chunk)
        for one in chosen:
            if not stop:
                run_part(one, part_folder(folder, one), ask)
        if stop:
            return folder
        found = {p.name: outcome(p, part_folder(folder, p)) for p in paper.parts()}
        report.setting(**{p.name: p.settings for p in paper.parts()})
        paper.conclude(found, report)
    report.finish(size, command)
    return folder


def _chosen(name: str, paper: Paper | None, part: str | None) -> tuple[Part, ...]:
    """The part of this name, or all parts."""
    if paper is None:
        if part is not None:
            raise UserError(f"--part {part} needs --size paper, and an experiment that has parts")
        return ()
    parts = {one.name: one for one in paper.parts()}
    if part is not None and part not in parts:
        hint = suggest(part, parts) or f"; see pes-rl reproduce {name} --size paper --list"
        raise UserError(f"unknown part {part!r}{hint}")
    return tuple(parts.values()) if part is None else (parts[part],)


def default_folder(name: str, size: str) -> Path:
    """Where an experiment of some size is written to."""
    return Path("runs/reproductions") / (name if size == "reduced" else f"{name}-{size}")


def part_folder(folder: Path, part: Part) -> Path:
    """Where a part is written to, within its experiment's folder."""
    return folder / "parts" / part.name


def costs(name: str, folder: Path) -> list[str]:
    """A line for each part of the papers' size: inner steps, operations, hours on this machine.

    Hours are from the part's own updates where some have been made, else from matrix products.
    """
    from pes_rl.reproductions.paper import cost
    from pes_rl.reproductions.paper.engine import start_devices
    from pes_rl.reproductions.paper.files import COST

    paper = load(name).paper
    if paper is None:
        return [f"{name} is at the papers' size already: pes-rl reproduce {name}"]
    start_devices()
    speed = cost.speed()
    lines = []
    for part in paper.parts():
        measured = read_json(part_folder(folder, part) / COST) or {}
        flops = part.total_steps * part.flops
        each = measured.get("seconds_per_update_and_seed")
        hours = (each * part.updates * len(part.seeds) if each else flops / speed) / 3600
        how = "as measured" if each else "or more"
        lines.append(
            f"{part.name:36s} {len(part.seeds)} seeds x {part.updates:6d} updates  "
            f"{part.total_steps:.2g} inner steps  {flops / 1e15:7.3g} PFLOP  "
            f"{hours:7.3g} h here, {how}"
        )
    return lines
