"""Take away what keeps runs safe; the quick suite notices: ``-m benchmarks.faults.mutations``.

Prints a line for each; exits with 1 if one goes unnoticed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.mutations import ROOT, Mutation, mutate

FILES = "storage/files.py"
MUTATIONS = (
    Mutation("no fsync of files", FILES, "        os.fsync(file.fileno())\n", "", ("power",)),
    Mutation("no fsync of folders", FILES, "        os.fsync(fd)\n", "        pass\n", ("power",)),
    Mutation(
        "no rename",
        FILES,
        "        os.replace(temp, path)\n",
        "        path.write_bytes(data)\n        temp.unlink()\n",
        ("kills", "power"),
    ),
    Mutation(
        "no lock", "storage/run_folder.py", "lock.acquire(timeout=0)", "lock.release()", ("kills",)
    ),
    Mutation(
        "no fingerprint of the configuration",
        "runs/opening.py",
        "        if now == then or ",
        "        if name or ",
        ("corruption",),
    ),
)


def main() -> int:
    unnoticed = 0
    for mutation in MUTATIONS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in ("pes_rl", "benchmarks"):
                shutil.copytree(ROOT / part, folder / part)
            mutate(folder, mutation)
            command = [sys.executable, "-m", "benchmarks.faults", "--out", name, "--scale", "quick"]
            done = subprocess.run(
                [*command, "--classes", *mutation.tests],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": name},
                capture_output=True,
                text=True,
                check=False,
            )
            parts = [json.loads(path.read_text()) for path in folder.glob("*.json")]
            failed = sum(len(part["failures"]) for part in parts)
            tried = sum(part["tried"] for part in parts)
        noticed = done.returncode == 1 and failed > 0
        unnoticed += not noticed
        verdict = (
            f"{failed} of {tried} cases fail" if noticed else f"NOT NOTICED {done.stderr[-500:]}"
        )
        print(f"{mutation.name}: {verdict}", flush=True)
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
