"""The wheel holds exactly the package, built from the tree or from the source distribution."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def package_files() -> set[str]:
    kept = (path for path in (ROOT / "pes_rl").rglob("*") if path.is_file())
    return {str(p.relative_to(ROOT)) for p in kept if "__pycache__" not in p.parts}


@pytest.mark.parametrize("targets", [["--wheel"], []], ids=["from the tree", "from the sdist"])
def test_wheel_holds_the_package(tmp_path, targets):
    """Symbolic links at the top level must neither drop nor double any file."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, *targets, str(ROOT)], check=True, capture_output=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    assert set(names) == package_files() and "pes_rl/py.typed" in names
