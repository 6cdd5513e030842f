"""Full backpropagation through time (Werbos 1990): one update per episode, exact gradient.

Memory grows with the horizon, and where the computation is chaotic the exact gradient is useless:
it measures how fast neighbouring trajectories separate (Metz et al. 2019, 2021).
"""

from __future__ import annotations

from pes_rl.problems.protocol import Problem
from pes_rl.unrolled.method import Method
from pes_rl.unrolled.truncated_bptt import truncated_bptt


def bptt(problem: Problem, horizon: int, *, num_particles: int = 1) -> Method:
    """Truncated backpropagation whose one segment is the whole episode (K = T)."""
    return truncated_bptt(problem, horizon, horizon, num_particles=num_particles, staggered=False)
