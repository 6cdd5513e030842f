"""Local data files, which nothing here downloads."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pes_rl.errors import UserError


def read_bytes(path: Path, digests: dict[str, str]) -> bytes:
    """The bytes of a data file; its SHA-256 joins ``digests`` under its name.

    Raises:
      UserError: it cannot be read; says where it belongs.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; put {path.name} (nothing is downloaded) into "
            f"{path.parent}, or set PES_RL_DATA to the folder that has {path.parent.name}/"
        ) from None
    digests[path.name] = hashlib.sha256(raw).hexdigest()
    return raw
