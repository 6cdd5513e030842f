"""JAX in this process: whether it can be used at all, and where host engines compute with it."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from pes_rl.errors import UserError

_forked = False


def _after_fork() -> None:
    global _forked
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX says it nowhere else
    _forked |= bridge is not None and bridge.backends_are_initialized()


os.register_at_fork(after_in_child=_after_fork)


def refuse_fork() -> None:
    """Raise UserError in a process forked from one that has used JAX.

    It would wait for ever for threads that stayed behind.
    """
    if _forked:
        raise UserError(
            "this process was forked from one that has used JAX, so training would hang; start it "
            "with multiprocessing.get_context('spawn') or 'forkserver'"
        )


@functools.cache
def host_device() -> Any:
    """The CPU, whatever accelerator ``JAX_PLATFORMS`` asks for, be it there or not."""
    import jax

    config: Any = jax.config  # its options are not among its declared attributes
    asked = config.jax_platforms
    choices = [asked]
    if asked and "cpu" not in asked.split(","):
        choices = [f"{asked},cpu", "cpu"]
    for platforms in choices:
        if platforms != asked:
            config.update("jax_platforms", platforms)
        try:
            return jax.local_devices(backend="cpu")[0]
        except (RuntimeError, AssertionError):
            continue
    raise UserError(
        f"JAX has no CPU, which this engine needs, since JAX_PLATFORMS is {asked!r}; leave it "
        "unset, or add cpu to it"
    )


def device_list() -> list[Any]:
    """All devices of JAX; UserError if those that ``JAX_PLATFORMS`` asks for are not there."""
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        config: Any = jax.config
        reason = str(error).partition("\n")[0] or "they are not here"
        raise UserError(
            f"JAX cannot use the devices of JAX_PLATFORMS={config.jax_platforms or ''}: {reason}"
        ) from error
