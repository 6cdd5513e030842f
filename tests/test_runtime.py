"""Threads of numerical libraries, in a process that has loaded none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

THREADS = """
import json
from pes_rl.runtime import {context}
with {context}():
    import jax.numpy as jnp
    jnp.linalg.solve(jnp.eye(3), jnp.ones(3)).block_until_ready()
    from threadpoolctl import threadpool_info
    found = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
print(json.dumps(found))
"""


def threads(context: str) -> list[int]:
    code = THREADS.format(context=context)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a library has one thread on one core")
def test_training_limits_the_solvers_of_jax_too():
    assert set(threads("training_math")) == {1}
    assert max(threads("single_threaded_math")) > 1  # so the longer name is needed
