"""Stopping politely: the first SIGINT, SIGTERM or SIGHUP asks, the second one interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence


def leave_if(stop: Sequence[int]) -> None:
    """Leave as the first signal in ``stop`` asks: KeyboardInterrupt, or SystemExit(143 or 129)."""
    if stop:
        raise KeyboardInterrupt if stop[0] == signal.SIGINT else SystemExit(128 + stop[0])


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that receives the first of these signals; a second one interrupts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, frame: object) -> None:
        del frame
        received.append(number)
        if len(received) > 1:
            leave_if([number])
        # Not through sys.stderr, which the program may be in the middle of writing to. Where there
        # was none from the beginning, its number may be that of another file.
        if sys.__stderr__ is not None:
            with contextlib.suppress(OSError):
                os.write(2, b"pes-rl: saving after this update; once more to stop at once\n")

    caught = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
        caught.append(signal.SIGHUP)
    previous = {s: signal.signal(s, handle) for s in caught}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
