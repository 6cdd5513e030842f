"""What a user's settings of JAX, or a fork, may do to training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, warnings
from pes_rl.errors import UserError
from pes_rl.runtime import training_math
from pes_rl.training.host import HostTrainer
from tests.tools.toy_environment import PointMassSimulator, configure

def make():
    return HostTrainer(configure(), make_simulator=lambda n, _: PointMassSimulator(n))

with training_math():
    print(make().advance()[0]["update"])
warnings.simplefilter("ignore")  # JAX and Python both warn of what comes
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    signal.alarm(30)  # it would hang
    try:
        make()
    except UserError as error:
        os._exit(7 if "forked from one that has used JAX" in str(error) else 8)
    os._exit(9)
"""


def test_host_engines_need_no_accelerator_and_no_promotion_but_no_fork():
    strict = {
        "JAX_PLATFORMS": "nowhere",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | strict,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["1", "7"], done.stderr
