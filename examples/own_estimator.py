"""An estimator of one's own, on a problem of the paper: python examples/own_estimator.py

A segment's loss is multiplied by noise: in PES by the sum of what was drawn in the episode so far,
in truncated ES by what is in force alone, here by something between. On influence balancing what
helps at once hurts in the long run, so who is blind to the long run moves the wrong way.
"""

import jax.numpy as jnp
import optax

from pes_rl.estimators import ALL_HERE, Estimator, EstimatorState, Placement, Segment, pes
from pes_rl.problems.influence_balancing import InfluenceBalancing
from pes_rl.unrolled import evolution, minimize


def blended(memory: float, num_pairs: int, perturb_std: float, segment_length: int) -> Estimator:
    """PES (``memory`` 1), truncated ES (0), or what lies between, for an endless problem.

    An estimator is three pure functions: ``init`` makes the state of all pairs, ``perturb`` draws
    their noise, ``gradient`` multiplies losses by it. Here only the last differs from that of PES.
    """
    base = pes(num_pairs, perturb_std, segment_length, horizon=None)

    def gradient(state: EstimatorState, segment: Segment, placement: Placement = ALL_HERE):
        # Noise [N, P]: of the segment, and summed over the episode.
        weight = memory * state.accumulator + (1 - memory) * state.noise
        swapped = state._replace(accumulator=weight)
        grad, after, info = base.gradient(swapped, segment, placement)
        return grad, after._replace(accumulator=state.accumulator), info

    return base._replace(gradient=gradient)


def main(num_updates: int = 2_000) -> dict[float, float]:
    """How far theta ends from its optimum, by the share of memory."""
    problem, ends = InfluenceBalancing(), {}
    for memory in (0.0, 0.5, 1.0):
        method = evolution(problem, blended(memory, 500, perturb_std=0.3, segment_length=1))
        start = jnp.array([0.5])
        history = minimize(method, optax.sgd(1e-4), start, seeds=[0], num_updates=num_updates)
        ends[memory] = abs(float(history.theta[0, -1, 0]) - problem.optimum)
    return ends


if __name__ == "__main__":
    for memory, distance in main().items():
        print(f"memory {memory}: {distance:.3f} from the optimum")
