"""How the processes of a run find each other: all come to the first one, at HOST:PORT.

It listens there before JAX's runtime starts and for as long as the run lasts, and lets in whoever
is asked to do the same. JAX's own service, on a port that the first process chooses, takes a
process that comes twice for one that has restarted, and ends the run; so nobody else learns its
address.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from pes_rl.console import warn
from pes_rl.errors import UserError
from pes_rl.training.agreement import difference
from pes_rl.training.links import Link, Links

_PROTOCOL = "pes-rl 1"
_PATIENCE_S = 300.0  # until all have been started
_RESOLVE_S = 60.0  # until the first one's own name is known, which a cluster may take a while for
_DIFFERENT_S = 10.0  # for the others to come and hear of a difference too
_AGAIN_S = 0.3


class Joined(NamedTuple):
    """A process among the others.

    Attributes:
      service: address of JAX's service, HOST:PORT.
      links: what it watches the others by.
      refuse: what whoever comes later is told.
    """

    service: str
    links: Links
    refuse: str


def join(address: str, size: int, index: int, told: Mapping[str, Any]) -> Joined:
    """Meet the other processes of the run at ``address`` (HOST:PORT), once all have come.

    Args:
      address: where the first process listens.
      size: how many processes there are.
      index: which one this is.
      told: what they must have alike, of `pes_rl.training.agreement.about`.

    Raises:
      UserError: the processes differ, or do not find each other, or ``index`` is taken, or the
        first one cannot listen there.
    """
    host, _, port = address.rpartition(":")
    place = host.strip("[]"), int(port)
    if index == 0:
        return _receive(address, place, size, told)
    hello = {"hello": _PROTOCOL, "index": index, "size": size, "told": told}
    return _visit(address, place, hello)


def _receive(address: str, place: tuple[str, int], size: int, told: Mapping[str, Any]) -> Joined:
    """The first process's share: let the others in."""
    listener = _listen(address, place)
    own = listener.getsockname()[0]
    if own.startswith("127.") and place[0] not in ("localhost", own):
        warn(f"--coordinator {address} is {own} here, where only this machine can reach it")
    links, problem, expected = Links(listener), "", size
    until = time.monotonic() + _PATIENCE_S
    while len(links.peers) < expected - 1 and time.monotonic() < until:
        for link, messages in links.poll():
            found = _let_in(links, link, messages[0], told) if messages else None
            if found and not problem:
                problem, until = found, time.monotonic() + _DIFFERENT_S
            if messages and found:  # all are to hear of it, also where their number differs
                expected = max(expected, messages[0]["size"])
        for link in links.silent():
            links.drop(link)
    if not problem and len(links.peers) < size - 1:
        missing = min(set(range(1, size)) - links.peers.keys())
        problem = (
            f"process {missing} has not come to {_text(own, place[1])} in {_PATIENCE_S:.0f} s; "
            "start it, with a --coordinator address that it can reach"
        )
    if problem:
        links.tell({"refused": problem})
        links.close()
        raise UserError(problem)
    port = _free_port(listener)
    for link in links.peers.values():
        link.send({"service": port})
    refuse = (
        f"a run of {size} processes is under way at {address} already; give this one another "
        "--coordinator port"
    )
    return Joined(_text(own, port), links, refuse)


def _let_in(links: Links, link: Link, hello: dict[str, Any], told: Mapping[str, Any]) -> str | None:
    """Make ``link`` one of the run's, or refuse it; what it has other than this process, if so."""
    match hello:
        case {"hello": version, "index": int(index), "size": int(size), "told": dict(theirs)} if (
            version == _PROTOCOL and 1 <= index < size and link.index is None
        ):
            if index in links.peers:
                text = f"process {index} of the run is there already; give each its --process-id"
                link.send({"refused": text})
                return None
            link.index, links.peers[index] = index, link
            return difference(told, theirs, index)
    links.drop(link)
    return None


def _visit(address: str, place: tuple[str, int], hello: dict[str, Any]) -> Joined:
    """Another process's share: go to the first one and hear whether all are there."""
    links = Links()
    first = links.add(_connect(address, place, hello["index"]))
    first.index, links.peers[0] = 0, first
    first.send(hello)
    try:
        while not links.silent():
            for _, messages in links.poll():
                if messages == []:
                    continue
                answer = messages[0] if messages else {}
                if isinstance(port := answer.get("service"), int):
                    return Joined(_text(first.socket.getpeername()[0], port), links, "")
                raise UserError(str(answer.get("refused", _ended(address))))
        raise UserError(f"process 0 at {address} does not answer; choose another --coordinator")
    except UserError:
        links.close()
        raise


def _listen(address: str, place: tuple[str, int]) -> socket.socket:
    """A socket that listens on exactly that address."""
    until, problem = time.monotonic() + _RESOLVE_S, ""
    while True:
        try:
            found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
            break
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(_unknown(address, error)) from error
            time.sleep(_AGAIN_S)
    for family, kind, protocol, _, where in found:
        listener = socket.socket(family, kind, protocol)
        # As always for servers: else the address is held for a minute after a run that ended.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(128)
        except OSError as error:
            listener.close()
            problem = _refused(address, where, error)
        else:
            return listener
    raise UserError(problem)


def _refused(address: str, where: Any, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--coordinator {address} is in use, perhaps by another run; choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"--coordinator {address} is {where[0]}, which is no address of this machine, where "
            "process 0 has to listen; give one that is"
        )
    return f"process 0 cannot listen at --coordinator {address}: {error.strerror}; choose another"


def _unknown(address: str, error: OSError) -> str:
    return f"--coordinator {address} leads nowhere: {error.strerror}; give an address of process 0"


def _ended(address: str) -> str:
    return (
        f"what listens at {address} is no process 0 of a run of pes-rl, or it has ended; see what "
        "it says, or choose another --coordinator"
    )


def _connect(address: str, place: tuple[str, int], index: int) -> socket.socket:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            found = socket.create_connection(place, timeout=10)
            if found.getsockname() != found.getpeername():  # a port may come to be its own peer
                return found
            found.close()
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(
                    f"process {index} finds no process 0 at {address} in {_PATIENCE_S:.0f} s: "
                    f"{error.strerror or error}; start it, or give another --coordinator"
                ) from error
        time.sleep(_AGAIN_S)


def _free_port(listener: socket.socket) -> int:
    with contextlib.closing(socket.socket(listener.family)) as found:
        found.bind((listener.getsockname()[0], 0))
        return found.getsockname()[1]


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
