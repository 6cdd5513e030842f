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
from functools import partial
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


def watch(root: Path, around: Around) -> None:
    """From now on every operation below ``root`` goes through ``around``."""
    hooks = _Hooks(str(root), around)
    for name in _PATHS:
        setattr(os, name, hooks.of(getattr(os, name)))
    opened: Any = hooks.opened
    os.fsync, builtins.open, io.open = hooks.fsync, opened, opened


class _Hooks:
    """What stands in the place of functions of ``os`` and of ``open``."""

    def __init__(self, top: str, around: Around):
        self._top, self._around = top, around
        self._inside = False  # another operation, of which only the outer one counts
        self._open, self._fsync = io.open, os.fsync

    def of(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in the place of a function of ``os`` whose first argument is a path."""
        name = real.__name__

        def hooked(path: Any, *arguments: Any, **options: Any) -> Any:
            where = _where(path, options.get("dir_fd") or options.get("src_dir_fd"))
            do = partial(real, path, *arguments, **options)
            if not self._concerns(where):
                return do()
            to = os.fsdecode(arguments[0]) if name in ("replace", "rename") else ""
            mode = _mode(arguments[0]) if name == "open" else ""
            return self.do(Operation(name, where, to, mode=mode), do)

        return hooked

    def opened(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        """In the place of ``open``."""
        path = None if isinstance(file, int) else _where(file, None)
        do = partial(self._open, file, mode, *arguments, **options)
        # An opener opens it by `os`.
        if path is None or not self._concerns(path) or options.get("opener"):
            return do()
        if not set(mode) & set("wax+"):
            return self.do(Operation("read", path), do)
        bare = mode.replace("b", "").replace("t", "")
        raw = self.do(Operation("create", path, mode=bare), lambda: _Raw(path, bare, self))
        if options.get("buffering", arguments[0] if arguments else -1) == 0:
            return raw
        buffered: Any = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, options.get("encoding"))

    def fsync(self, fd: int) -> None:
        """In the place of ``os.fsync``."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        if not self._concerns(path):
            return self._fsync(fd)
        return self.do(Operation("fsync", path), partial(self._fsync, fd))

    def do(self, operation: Operation, real: Callable[[], Any]) -> Any:
        """Have ``around`` do it."""

        def inner() -> Any:
            before, self._inside = self._inside, True
            try:
                return real()
            finally:
                self._inside = before

        return self._around(operation, inner)

    def _concerns(self, path: str) -> bool:
        below = path == self._top or path.startswith(self._top + os.sep)
        return below and not self._inside


class _Raw(io.FileIO):
    """A file whose writes are seen."""

    def __init__(self, path: str, mode: str, hooks: _Hooks):
        super().__init__(path, mode)
        self._hooks = hooks

    def write(self, data: Any) -> int:
        block = bytes(data)
        operation = Operation("write", str(self.name), data=block)
        return self._hooks.do(operation, lambda: io.FileIO.write(self, block))


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
