"""Connections between the first process of a run and the others, over which they watch each other.

Every process says every two seconds that it lives, on a thread of its own, so that one which
compiles for minutes is waited for and one which is stopped is not.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_BEAT_S = 2.0
_WAIT_S = 0.5
_SILENT_S = 40.0  # a process that is silent for so long is lost: stopped, or its machine is gone
_STRANGER_S = 10.0  # that somebody may stay who is not of this run
_LONGEST = 2**20  # bytes of a message
_FAREWELL_S = 3.0

Message = dict[str, Any]


class Link:
    """A connection to another process: a line of JSON for each message, empty ones as beats.

    Attributes:
      index: number of the process, None before it is known to be one of this run.
      heard: when something last came.
    """

    def __init__(self, connection: socket.socket):
        connection.settimeout(1.0)
        self.socket, self.heard = connection, time.monotonic()
        self.index: int | None = None
        self._rest = b""

    def send(self, message: Message | None = None) -> None:
        """Send a message, or a beat; whether it arrives is known by what comes back."""
        text = "" if message is None else json.dumps(message)
        with contextlib.suppress(OSError):
            self.socket.sendall(f"{text}\n".encode())

    def receive(self) -> list[Message] | None:
        """The messages that have come; None at the end, and of somebody who speaks otherwise."""
        try:
            data = self.socket.recv(2**16)
            self.heard = time.monotonic()
            *lines, self._rest = (self._rest + data).split(b"\n")
            messages = [json.loads(line) for line in lines if line]
        except TimeoutError:
            return []
        except (OSError, ValueError, RecursionError):
            return None
        sound = all(isinstance(message, dict) for message in messages)
        return messages if data and sound and len(self._rest) <= _LONGEST else None


class Links:
    """All connections of a process: the first one's to each other, another's to the first."""

    def __init__(self, listener: socket.socket | None = None):
        self.peers: dict[int, Link] = {}
        self._listener, self._selector = listener, selectors.DefaultSelector()
        self._beaten, self._left = 0.0, threading.Event()
        self._thread: threading.Thread | None = None
        if listener is not None:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)

    def add(self, connection: socket.socket) -> Link:
        """A link over ``connection``, whose process is not known yet."""
        link = Link(connection)
        self._selector.register(connection, selectors.EVENT_READ, link)
        return link

    def poll(self) -> Iterator[tuple[Link, list[Message] | None]]:
        """Wait a moment at most; what came from whom. Links that have ended are closed."""
        now = time.monotonic()
        if now - self._beaten > _BEAT_S:
            self._beaten = now
            for link in self._links():
                link.send()
        for key, _ in self._selector.select(_WAIT_S):
            if key.data is None:
                self._accept()
                continue
            messages = key.data.receive()
            if messages is None:
                self.drop(key.data)
            yield key.data, messages

    def drop(self, link: Link) -> None:
        """Close a link."""
        self._selector.unregister(link.socket)
        link.socket.close()
        if link.index is not None and self.peers.get(link.index) is link:
            del self.peers[link.index]

    def silent(self) -> list[Link]:
        """The links from which nothing has come for too long."""
        now = time.monotonic()
        return [
            link
            for link in self._links()
            if now - link.heard > (_STRANGER_S if link.index is None else _SILENT_S)
        ]

    def watch(self, lost: Callable[[], None], refuse: str) -> None:
        """From now on call ``lost``, on a thread, when another process ends or stands still.

        Whoever still comes is told ``refuse``.
        """
        self._thread = threading.Thread(target=self._watch, args=(lost, refuse), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer: from now on the others may leave."""
        self._left.set()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Watch no longer, and close everything."""
        self.stop()
        for link in self._links():
            self.drop(link)
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    def tell(self, message: Message) -> None:
        """Send the others a last message and wait a moment for them to go."""
        until = time.monotonic() + _FAREWELL_S
        links = list(self.peers.values())
        for link in links:
            link.send(message)
        for link in links:
            with contextlib.suppress(OSError):  # also that of a timeout
                while (left := until - time.monotonic()) > 0:
                    link.socket.settimeout(left)
                    if not link.socket.recv(2**16):
                        break

    def _links(self) -> list[Link]:
        keys = self._selector.get_map() or {}  # it has none once it is closed
        return [key.data for key in list(keys.values()) if key.data]

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):  # it may have gone again
            self.add(self._listener.accept()[0])

    def _watch(self, lost: Callable[[], None], refuse: str) -> None:
        while not self._left.is_set():
            before = time.monotonic()
            for link, messages in self.poll():
                if link.index is None:
                    if messages:
                        link.send({"refused": refuse})
                elif messages is None or messages:  # the first one knows of a loss, and says so
                    self._lost(lost)
            if time.monotonic() - before > 5 * _BEAT_S:  # this process has stood still itself
                for link in self._links():
                    link.heard = time.monotonic()
            for link in self.silent():
                if link.index is None:
                    self.drop(link)
                else:
                    self._lost(lost)

    def _lost(self, lost: Callable[[], None]) -> None:
        if not self._left.is_set():
            self._left.set()
            lost()
