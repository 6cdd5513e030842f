"""How a population is unrolled for one segment: the JAX lift of a one-particle problem."""

from pes_rl.particles.problem import ParticleState, Problem, Runner, Step, lift

__all__ = ["ParticleState", "Problem", "Runner", "Step", "lift"]
