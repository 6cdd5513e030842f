"""A run done by several processes: they meet, work, watch each other, and leave or end together."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pes_rl.console import say
from pes_rl.errors import UserError
from pes_rl.runtime import one_xla_thread
from pes_rl.training.agreement import about
from pes_rl.training.joining import join
from pes_rl.training.links import Links
from pes_rl.training.processes import Processes

_HEARTBEAT_S = 100  # JAX's own, longer than that of `Links`, for it ends with a stack of calls
_LEAVE_S = 10
_DETECT_S = 300
_LOST = re.compile(r"gloo|nccl|coordination|unavailable|deadline_exceeded|socket", re.IGNORECASE)


class Rendezvous(NamedTuple):
    """Where a process stands among the others; all None to have JAX find out."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def together(
    work: Callable[[Processes], Any], where: Rendezvous, options: Mapping[str, Any]
) -> None:
    """Do ``work`` with the other processes, all of which are asked for the same ``options``.

    A process that fails by itself ends at once, without waiting for the others as JAX would; they
    notice and end too, as they do where one only stands still.

    Raises:
      UserError: the processes are not alike, do not find each other, or belong to no job that JAX
        knows of; and whatever ``work`` raises on all processes alike.
    """
    one_xla_thread()
    address, size, index, devices = _located(where)
    joined = join(address, size, index, about(size, options))
    processes, links = Processes(index, size), joined.links
    end = _Ending(links, index)
    links.watch(lambda: end(_LostError()), joined.refuse)
    try:
        _start_jax(joined.service, processes, devices)
        work(processes)
        processes.wait()
    except BaseException as error:
        alike = isinstance(error, UserError | KeyboardInterrupt | SystemExit)
        if not (alike and processes.leave()):
            end(error)
        _part(links)
        raise
    _part(links)


def _located(where: Rendezvous) -> tuple[str, int, int, Sequence[int] | None]:
    """Where the first process is, how many there are, which this is, its devices if not all."""
    coordinator, size, index = where
    devices = None
    if coordinator is None:
        from jax._src.clusters import ClusterEnv

        detect = ClusterEnv.auto_detect_unset_distributed_params
        coordinator, size, index, devices = detect(None, None, None, None, None, _DETECT_S)
    if coordinator is None or size is None or index is None:
        raise UserError(
            "--distributed found no SLURM, Open MPI or Kubernetes job around this process; give "
            "--coordinator HOST:PORT --num-processes N --process-id I"
        )
    return coordinator, size, index, devices


def _start_jax(service: str, processes: Processes, devices: Sequence[int] | None) -> None:
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(
            coordinator_address=service,
            num_processes=processes.size,
            process_id=processes.index,
            local_device_ids=devices,
            cluster_detection_method="deactivate",
            coordinator_bind_address=service,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_LEAVE_S,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"process cannot join the others through {service}: {reason}") from error


def _part(links: Links) -> None:
    import jax

    links.stop()
    jax.distributed.shutdown()  # it waits for the others, which so have stopped watching
    links.close()


class _LostError(Exception):
    """Another process has ended or stands still."""


class _Ending:
    """Ends this process now: at its regular end JAX would wait for processes that never come."""

    def __init__(self, links: Links, index: int):
        self._links, self._index, self._once = links, index, threading.Lock()

    def __call__(self, error: BaseException) -> NoReturn:
        """Say why, in whichever thread is the first to know, and end."""
        with self._once:
            code = 1
            if isinstance(error, SystemExit):
                code = int(error.code or 0)
            elif isinstance(error, KeyboardInterrupt):
                code = 130
            elif isinstance(error, UserError):
                code = 2
                say(f"pes-rl: error: {error}")
            elif _is_loss(error):
                code = 2
                say(
                    "pes-rl: error: lost another process of this run; start it again with "
                    "--resume RUN to continue from its last checkpoint"
                )
            else:
                say("".join(traceback.format_exception(error)).rstrip())
            if self._index == 0:  # JAX's service ends with it, which they would take badly
                self._links.tell({"lost": True})
            with contextlib.suppress(AttributeError, OSError):  # it may be None, or gone
                sys.stdout.flush()
            os._exit(code)


def _is_loss(error: BaseException) -> bool:
    """Whether that is what JAX raises when a connection to another process has gone."""
    theirs = type(error).__module__.startswith("jax")
    return isinstance(error, _LostError) or (theirs and bool(_LOST.search(str(error))))
