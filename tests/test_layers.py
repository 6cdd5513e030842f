"""The order of the package's folders: each may import those above it in the list, no others.

Imports inside functions and for type checkers count, so the graph has no circle at all, between
folders or between files.
"""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pes_rl"
# Names of one line do not import each other.
LAYERS = """
errors console streams styles runtime
policies estimators baselines problems zoo
storage envs
config particles
training
unrolled
evaluation runs reproductions
rendering comparison api
__init__
cli
__main__
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source: str) -> list[str]:
    """The package's modules that a file imports anywhere."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in MODULES else node.module for name in whole]
    return [name for name in names if name.split(".")[0] == "pes_rl"]


def layer(module: str) -> str:
    """The folder below the package, or the loose module."""
    return [*module.split("."), "__init__"][1]


def offences(source: str, name: str) -> list[str]:
    """The imports of the module ``name`` that go up or sideways."""
    own = layer(name)
    targets = [target for target in imports(source) if layer(target) != own]
    return [f"{name} imports {target}" for target in targets if RANK[layer(target)] >= RANK[own]]


def test_every_folder_and_loose_module_has_a_layer():
    assert {layer(name) for name in MODULES} == set(RANK)


def test_imports_keep_the_order():
    found = [text for name, path in MODULES.items() for text in offences(path.read_text(), name)]
    assert not found


def test_an_import_against_the_order_is_noticed():
    upwards = "def f():\n    from pes_rl.training.update import make_update\n"
    assert offences(upwards, "pes_rl.particles.host") == [
        "pes_rl.particles.host imports pes_rl.training.update"
    ]
    typing = "if TYPE_CHECKING:\n    import pes_rl.runs.loop\n"
    assert offences(typing, "pes_rl.config.build")


def test_no_files_import_each_other_in_a_circle():
    graph = {
        name: {target for target in imports(path.read_text()) if target != name}
        for name, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the circle


def test_few_modules_lie_loose():
    assert len(list(PACKAGE.glob("*.py"))) <= 9


def test_the_documentation_names_every_entry_of_the_package():
    layout = (ROOT / "docs" / "architecture.md").read_text().split("## Layout")[1].split("\n## ")[0]
    named = set(re.findall(r"`pes_rl/(\w+)(?:/|\.py)`", layout))
    assert named == {layer(name) for name in MODULES} - {"__init__", "__main__"}
