"""Unrolled problems: the protocol of one particle, and the systems of the papers."""

from pes_rl.problems.protocol import Problem, Step, check_problem

__all__ = ["Problem", "Step", "check_problem"]
