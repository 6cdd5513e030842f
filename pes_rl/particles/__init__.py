"""How a population is unrolled for one segment: on a host, on a device, or of a JAX problem."""

from pes_rl.particles.problem import ParticleState, Problem, Runner, Step, lift

__all__ = ["ParticleState", "Problem", "Runner", "Step", "lift"]
