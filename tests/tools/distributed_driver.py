"""``pes-rl`` in a process of its own whose JAX engines all step a point mass, which compiles fast.

python -m tests.tools.distributed_driver train --env brax/halfcheetah ...

With ``PES_RL_TEST_SIGNAL=1`` in the environment it gets SIGTERM in its first updates, with
``PES_RL_TEST_BREAK=1`` its evaluations raise.
"""

from __future__ import annotations

import os
import signal
import sys

from pes_rl import cli


def main() -> int:
    import pes_rl.envs.make
    from tests.tools.toy_environment import point_mass

    pes_rl.envs.make.make_jax_environment = lambda *_: point_mass()
    if os.environ.get("PES_RL_TEST_SIGNAL") == "1":
        from pes_rl.training.device import DeviceTrainer

        plain = DeviceTrainer.advance

        def advance(self):
            signal.raise_signal(signal.SIGTERM)
            return plain(self)

        DeviceTrainer.advance = advance
    if os.environ.get("PES_RL_TEST_BREAK") == "1":
        from pes_rl.training.device import DeviceTrainer

        def evaluate(self):
            raise RuntimeError(f"the cable is out, {self.env_steps}")

        DeviceTrainer.evaluate = evaluate
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
