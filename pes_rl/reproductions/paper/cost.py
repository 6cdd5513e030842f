"""What a part costs: memory as its compiled program has it, time as it is measured."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from pes_rl.errors import UserError
from pes_rl.reproductions.paper.engine import Engine
from pes_rl.reproductions.paper.part import Part
from pes_rl.training import memory

_COPIES = 2  # of a state while it is written: its arrays' bytes, and those of the file


def status(name: str) -> int | None:
    """Bytes of this process by a name of /proc/self/status (VmRSS, VmHWM); None without it."""
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def room(device: Any) -> int | None:
    """Bytes that a program may take: a device's own, or what is free of a CPU's."""
    if device.platform != "cpu":
        return memory.capacity(device)
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def needed(engine: Engine) -> int:
    """Bytes that computing takes on the fullest device, or in the process where that is a CPU."""
    if engine.mesh.devices.flat[0].platform != "cpu":
        return engine.work_bytes // engine.mesh.size
    copies = 1 + _COPIES + (engine.mesh.size > 1)
    return max(engine.work_bytes, copies * engine.state_bytes)


def predicted(engine: Engine) -> int:
    """Bytes at the peak: of a device, or of the process where that is a CPU."""
    own = status("VmRSS") if engine.mesh.devices.flat[0].platform == "cpu" else 0
    return needed(engine) + (own or 0)


def refuse(part: Part, engine: Engine, chunk: int | None) -> UserError:
    """The error of a part that does not fit, and what helps."""
    device = engine.mesh.devices.flat[0]
    free = room(device) or 0
    share = (chunk or part.pairs // engine.mesh.size) // 2
    helps = f"use --particle-chunk {share}" if share else "use a machine with more"
    if engine.state_bytes > free:
        helps = "its state alone takes more: use a machine with more, or several devices"
    return UserError(
        f"part {part.name!r} needs about {memory.text(needed(engine))} on {device.device_kind}, "
        f"{memory.text(free)} are free; {helps}"
    )


def speed() -> float:
    """Floating-point operations a second of all devices, by products of the papers' sizes on one.

    The fastest of those made in half a second counts: others may be working on the same cores.
    """
    a = jnp.ones((16, 100, 784), jnp.float32)
    b = jnp.ones((16, 784, 100), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, b))
    least, end = math.inf, time.perf_counter() + 0.5
    while (start := time.perf_counter()) < end:
        jax.block_until_ready(product(a, b))
        least = min(least, time.perf_counter() - start)
    return len(jax.devices()) * 2 * a.size * 100 / least
