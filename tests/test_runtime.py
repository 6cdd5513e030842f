"""Threads of numerical libraries, in a process that has loaded none of them."""

from __future__ import annotations

import json
import subprocess
import sys

SOLVE = """
import json
from threadpoolctl import threadpool_info
from pes_rl.runtime import training_math

def libraries():
    found = threadpool_info()
    return {one["filepath"]: one["num_threads"] for one in found if one["user_api"] == "blas"}

with training_math():
    import jax.numpy as jnp
    before = libraries()
    jnp.linalg.solve(jnp.eye(3), jnp.ones(3)).block_until_ready()
    after = libraries()
print(json.dumps([before, after]))
"""


def test_training_limits_the_solvers_of_jax_too():
    """A library that a solver loads later is not limited, so none may be missing before."""
    done = subprocess.run(
        [sys.executable, "-c", SOLVE], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert before == after
    assert set(after.values()) == {1}
