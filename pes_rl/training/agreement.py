"""What the processes of a run must have alike, and how it is told that they do not."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pes_rl.errors import shown
from pes_rl.storage.run_folder import versions

_MACHINE = ("platform", "cpu_count", "num_threads")  # each process may have its own
_FIX = {
    "versions": "install the same everywhere",
    "options": "start all processes with the same options",
}


def about(num_processes: int, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What this process runs and is asked to do, as JSON: ``versions`` and ``options``.

    ``options`` is a whole configuration, or what is to change in a run that is resumed.
    """
    own = {**versions(), "code": code_digest(), "JAX_ENABLE_X64": os.environ.get("JAX_ENABLE_X64")}
    asked = {"num_processes": num_processes, **options}
    told = {"versions": own, "options": asked}
    without = {
        group: {name: value for name, value in values.items() if name not in _MACHINE}
        for group, values in told.items()
    }
    return json.loads(json.dumps(without))


def difference(first: Mapping[str, Any], other: Mapping[str, Any], index: int) -> str | None:
    """The first thing that process ``index`` has ``other`` than process 0, and what to do.

    Both are what `about` returned; None if they are equal.
    """
    for group, fix in _FIX.items():
        ours, theirs = first[group], other.get(group)
        theirs = theirs if isinstance(theirs, dict) else {}
        for name, value in ours.items():
            if theirs.get(name) != value:
                there = shown(theirs.get(name))
                return f"process {index} has {name} {there}, process 0 has {shown(value)}; {fix}"
    return None


@functools.cache
def code_digest(package: Path = Path(__file__).parents[1]) -> str:
    """A short digest of the package's source files: development versions share their number."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
