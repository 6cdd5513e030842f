"""``pes-rl`` in a process of its own whose JAX engines all step a point mass, which compiles fast.

python -m tests.tools.distributed_driver train --env brax/halfcheetah ...
"""

from __future__ import annotations

import sys

from pes_rl import cli


def main() -> int:
    import pes_rl.envs.make
    from tests.tools.toy_environment import point_mass

    pes_rl.envs.make.make_jax_environment = lambda *_: point_mass()
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
