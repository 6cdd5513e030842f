"""``python -m pes_rl`` is ``pes-rl``."""

import sys

from pes_rl.cli import main

sys.exit(main())
