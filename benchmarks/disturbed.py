"""What perturbations do to a trained policy: ``python -m benchmarks.disturbed zoo/Ant``.

Evolution strategies climb the return of perturbed policies. For every sigma this plays whole
episodes of antithetic pairs around a saved policy, on the official task's rewards, and of the
policy after a step of a quarter of a perturbation's length up their gradient and down it. Where
steps up make the policy itself worse, sigma is too large to make it better.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

STEP = 0.25  # of a perturbation's length, sigma sqrt(P)


class Disturbed(NamedTuple):
    """What is found at one sigma.

    Attributes:
      members: returns of perturbed members [N, 2].
      live: share of them that live to the end of the episode.
      up, down: returns [2N] of the policy after a step along the gradient, and against it.
    """

    members: np.ndarray
    live: float
    up: np.ndarray
    down: np.ndarray


class Field:
    """Plays whole episodes of pairs of policies, each pair from one start."""

    def __init__(self, policy: Any, pairs: int, seed: int) -> None:
        from pes_rl.envs.make import make_simulator
        from pes_rl.envs.registry import resolve
        from pes_rl.particles.host import HostPopulation

        environment = resolve(policy.environment["name"], "mujoco")
        simulator = make_simulator(environment, "mujoco", 2 * pairs)
        self.policy, self.pairs, self.horizon = policy, pairs, environment.horizon
        self._population = HostPopulation(simulator, policy.policy, pairs, seed)

    def play(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns [N, 2] of policies [N, 2, P], and whether they lived to the end."""
        from pes_rl.training.programs import host_math

        limits = np.full(self.pairs, self.horizon, np.int32)
        with host_math():
            rollout = self._population.unroll(
                theta.astype(np.float32), limits > 0, limits, self.policy.affine
            )
        return -np.asarray(rollout.segment.loss), np.asarray(rollout.segment.steps) == self.horizon


def disturb(field: Field, perturb_std: float, rng: np.random.Generator) -> Disturbed:
    """Members with noise of this size, and steps along the gradient that they give."""
    center = field.policy.theta.astype(float)
    noise = rng.standard_normal((field.pairs, center.size))
    signs = np.array([[1.0], [-1.0]])
    members, live = field.play(center + perturb_std * signs * noise[:, None])
    gradient = (members[:, 0] - members[:, 1]) @ noise
    # Where all members do alike there is no gradient, and no step.
    direction = gradient / max(np.linalg.norm(gradient), np.finfo(float).tiny)
    step = STEP * perturb_std * center.size**0.5 * direction
    moved, _ = field.play(np.tile(center + signs * step, (field.pairs, 1, 1)))
    return Disturbed(members, live.mean(), *moved.T)


def interval(values: np.ndarray) -> str:
    """Mean and 95 % interval."""
    half = stats.t.ppf(0.975, values.size - 1) * stats.sem(values.ravel())
    return f"{values.mean():.0f} ± {half:.0f}"


def main() -> None:
    import pes_rl

    parser = argparse.ArgumentParser("benchmarks.disturbed")
    parser.add_argument("policies", nargs="+", metavar="POLICY", help="zoo/NAME, or a folder")
    parser.add_argument("--perturb-std", type=float, nargs="+", default=[0.05, 0.025, 0.0125])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| policy | sigma | members | live to the end | a step up | a step down |")
    print("|---|---|---|---|---|---|")
    for name in args.policies:
        policy = pes_rl.load_policy(name)
        field, rng = Field(policy, args.pairs, args.seed), np.random.default_rng(args.seed)
        itself, live = field.play(np.tile(policy.theta, (args.pairs, 2, 1)))
        print(f"| {name} | 0 | {interval(itself)} | {live.mean():.0%} | | |", flush=True)
        for sigma in args.perturb_std:
            found = disturb(field, sigma, rng)
            cells = interval(found.members), f"{found.live:.0%}", interval(found.up)
            print(f"| | {sigma} | {' | '.join(cells)} | {interval(found.down)} |", flush=True)


if __name__ == "__main__":
    main()
