"""Users' own code by name: ``module:attribute``, found as ``python`` would from this folder."""

from __future__ import annotations

import importlib
import os
import site
import sys
import sysconfig
import typing
from collections.abc import Callable
from typing import Any

from pes_rl.errors import UserError, suggest

_SCRIPT = "__main__"


def import_module(module: str, what: str) -> Any:
    """Import a user's module; ``what`` names for whom. UserError where that fails.

    The current folder is searched last of all, and stays on the path: the module may import its
    neighbours whenever it likes, but hides nothing that is installed.
    """
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise UserError(f"{what}: cannot import {module!r}: {error}") from error
        where = "is it misspelt, or in another folder? The current one is searched"
        raise UserError(f"{what}: there is no module {error.name!r}; {where}") from error
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise UserError(f"{what}: importing {module!r} failed: {kind}: {error}") from error


def load_attribute(name: str, what: str) -> Any:
    """The object called ``module:attribute``; UserError where there is none."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UserError(f"{what}: {name!r} is not of the form module:attribute")
    found = import_module(module, what)
    for part in attribute.split("."):
        if not hasattr(found, part):
            script = " (that is the script that trained it)" if module == _SCRIPT else ""
            near = suggest(attribute, (n for n in vars(found) if not n.startswith("_")))
            raise UserError(f"{what}: {module!r}{script} has no {attribute!r}{near}")
        found = getattr(found, part)
    return found


def load_maker(name: str, what: str) -> Callable[..., Any]:
    """The function or class called ``module:attribute`` that makes or wraps an environment.

    Files name such functions too, those of strangers among them. So not just anything is called:
    it must be a class of environments, be annotated to return an environment, or be written in a
    module that is neither Python's own nor installed. UserError where there is no such thing.
    """
    found = load_attribute(name, what)
    if not callable(found):
        raise UserError(f"{what}: {name!r} is a {type(found).__name__}, not a function or a class")
    require_maker(found, name, what)
    return found


def require_maker(found: Any, name: str, what: str) -> None:
    """Raise UserError unless ``found`` is what `load_maker` may call."""
    if not (_is_environment(found) or _is_environment(_returned(found)) or _is_own(found)):
        raise UserError(
            f"{what}: {name!r} is not known to return an environment; annotate it with "
            "-> gymnasium.Env, or call it in a function of a module of your own"
        )


def _is_environment(kind: Any) -> bool:
    """Whether it is a class of environments, Gymnasium's or ours in JAX; by name, to be quick."""
    names = {"gymnasium.core.Env", "pes_rl.envs.jax_environment.JaxEnvironment"}
    bases = getattr(kind, "__mro__", ()) if isinstance(kind, type) else ()
    return any(f"{base.__module__}.{base.__qualname__}" in names for base in bases)


def _returned(found: Any) -> Any:
    try:
        return typing.get_type_hints(found).get("return")
    except Exception:  # annotations are users' code
        return None


def _is_own(found: Any) -> bool:
    """Whether it is written in a module that is neither Python's own nor installed."""
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    places = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = {site.getusersitepackages(), *map(sysconfig.get_path, places)}
    path = os.path.realpath(file)
    return not any(path.startswith(os.path.join(os.path.realpath(p), "")) for p in installed)


def name_of(thing: Any, what: str) -> str:
    """``module:attribute`` of a function or class; text stays what it is.

    By this name it is found again, by other processes and when a run is resumed or its policy is
    played. UserError where it would not be found.
    """
    if isinstance(thing, str):
        return thing
    module, attribute = (getattr(thing, part, "") for part in ("__module__", "__qualname__"))
    try:
        found: Any = sys.modules[module]
        for part in attribute.split("."):
            found = getattr(found, part)
    except (KeyError, AttributeError):
        found = None
    if not callable(thing) or found is not thing:
        shown = attribute or type(thing).__name__
        raise UserError(
            f"{what} {shown!r} cannot be found again by a name; give a function or class at the "
            "top level of a module (and what it is called with as env_kwargs)"
        )
    return f"{module}:{attribute}"
