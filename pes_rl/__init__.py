"""Train control policies with online evolution strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pes_rl.api import resume, train
    from pes_rl.comparison.api import compare
    from pes_rl.errors import UserError
    from pes_rl.evaluation import evaluate
    from pes_rl.rendering.output import render
    from pes_rl.storage.policy import load_policy

    __version__: str

__all__ = [
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "load_policy",
    "render",
    "resume",
    "train",
]

# No submodule may have the name of one of these: importing it would set the package's attribute of
# that name to the module, in place of the function.
_PUBLIC = {
    "train": "pes_rl.api",
    "compare": "pes_rl.comparison.api",
    "evaluate": "pes_rl.evaluation",
    "load_policy": "pes_rl.storage.policy",
    "render": "pes_rl.rendering.output",
    "resume": "pes_rl.api",
    "UserError": "pes_rl.errors",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import pes_rl`` and ``pes-rl --help`` stay instant."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pes-rl")  # pyproject.toml is the one place that states it
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
