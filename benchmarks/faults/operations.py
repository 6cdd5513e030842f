"""Every file operation of this process below a folder, seen, failed or recorded before it happens.

Patches ``os`` and ``open``, through which all that a run writes goes: safetensors makes bytes, and
hands them to ``open``. For children that end soon, since nothing is put back.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_PATHS = ("open", "mkdir", "unlink", "remove", "rmdir", "replace", "rename")


class Operation(NamedTuple):
    """One of them: ``path`` is absolute, ``to`` the new name, ``data`` what is to be written."""

    kind: str
    path: str
    to: str = ""
    data: bytes = b""
    mode: str = ""


Around = Callable[[Operation, Callable[[], Any]], Any]
"""Given an operation and what does it; returns what that returned."""


def watch(root: Path, around: Around) -> None:  # noqa: C901
    """From now on every operation below ``root`` goes through ``around``."""
    top = str(root)
    depth = [0]  # of operations inside one another, of which only the outer one counts

    def concerns(path: str) -> bool:
        return (path == top or path.startswith(top + os.sep)) and not depth[0]

    def counted(operation: Operation, real: Callable[[], Any]) -> Any:
        def inner() -> Any:
            depth[0] += 1
            try:
                return real()
            finally:
                depth[0] -= 1

        return around(operation, inner)

    def hook_os(name: str) -> None:
        real = getattr(os, name)

        def hooked(path: Any, *arguments: Any, **options: Any) -> Any:
            where = _where(path, options.get("dir_fd") or options.get("src_dir_fd"))
            to = os.fsdecode(arguments[0]) if name in ("replace", "rename") else ""
            mode = _mode(arguments[0]) if name == "open" else ""
            if not concerns(where):
                return real(path, *arguments, **options)
            operation = Operation(name, where, to, mode=mode)
            return counted(operation, lambda: real(path, *arguments, **options))

        setattr(os, name, hooked)

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            block = bytes(data)
            operation = Operation("write", self.name, data=block)
            return counted(operation, lambda: io.FileIO.write(self, block))

    real_open, real_fsync = io.open, os.fsync

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        path = None if isinstance(file, int) else _where(file, None)
        if path is None or not concerns(path) or options.get("opener"):  # which opens it by `os`
            return real_open(file, mode, *arguments, **options)
        if not set(mode) & set("wax+"):
            real = lambda: real_open(file, mode, *arguments, **options)  # noqa: E731
            return counted(Operation("read", path), real)
        bare = mode.replace("b", "").replace("t", "")
        raw = counted(Operation("create", path, mode=bare), lambda: Raw(path, bare))
        if options.get("buffering", arguments[0] if arguments else -1) == 0:
            return raw
        buffered = io.BufferedWriter(raw) if "+" not in mode else io.BufferedRandom(raw)  # type: ignore
        return buffered if "b" in mode else io.TextIOWrapper(buffered, options.get("encoding"))

    def fsync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if not concerns(path):
            return real_fsync(fd)
        return counted(Operation("fsync", path), lambda: real_fsync(fd))

    for name in _PATHS:
        hook_os(name)
    os.fsync = fsync
    builtins.open = io.open = opened  # type: ignore


def _where(path: Any, folder: int | None) -> str:
    if isinstance(path, int):
        return ""
    text = os.fsdecode(path)
    if folder is not None:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)


def _mode(flags: int) -> str:
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        return "tmpfile"
    return "create" if flags & os.O_CREAT else "read"


def killer(number: int, moment: str) -> Around:
    """Die by SIGKILL before, within (half of what is written) or after an operation."""
    seen = [0]

    def around(operation: Operation, real: Callable[[], Any]) -> Any:
        here = seen[0] == number
        seen[0] += 1
        if here and moment == "before":
            die()
        if here and moment == "within" and operation.kind == "write":
            fd = os.open(operation.path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, operation.data[: len(operation.data) // 2])
            die()
        result = real()
        if here:
            die()
        return result

    return around


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failer(number: int, code: int, forever: bool) -> Around:
    """Operation ``number`` fails with an errno, and all after it where that is ``forever``."""
    seen = [0]

    def around(operation: Operation, real: Callable[[], Any]) -> Any:
        here = seen[0] == number or (forever and seen[0] > number)
        seen[0] += 1
        if here and not (code in (errno.ENOSPC, errno.EROFS) and operation.kind == "read"):
            if operation.kind == "write" and len(operation.data) > 1:  # as disks do that fill up
                fd = os.open(operation.path, os.O_WRONLY | os.O_APPEND)
                os.write(fd, operation.data[: len(operation.data) // 2])
                os.close(fd)
            raise OSError(code, os.strerror(code), operation.path)
        return real()

    return around


def recorder(log: list[Operation]) -> Around:
    """Note every operation, and of those that failed only that."""

    def around(operation: Operation, real: Callable[[], Any]) -> Any:
        log.append(Operation("failed", operation.path))
        result = real()
        log[-1] = operation  # others inside it are not seen
        return result

    return around
