"""Policies: frozen descriptions with pure functions over flat parameter vectors.

Every policy has ``num_params``, ``state_size``, ``init(seed) -> theta [P]``,
``unpack(theta [..., P]) -> weights`` and ``apply(xp, weights, x, state) -> (output, state)``.
Weights and inputs share their leading dimensions, so one call serves a single policy, a NumPy
population with its own weights per row, and a vmapped JAX particle. Each row is computed by the
same kernel whatever the number of rows, so results do not depend on how particles are placed.
"""

from __future__ import annotations

from typing import Literal

from pes_rl.policies.gru import GRU
from pes_rl.policies.linear import Linear
from pes_rl.policies.mlp import MLP
from pes_rl.policies.normalizer import Affine, Normalizer

Policy = Linear | MLP | GRU
POLICIES = ("linear", "mlp", "gru")

__all__ = ["GRU", "MLP", "POLICIES", "Affine", "Linear", "Normalizer", "Policy", "make_policy"]


def make_policy(
    kind: str,
    observation_size: int,
    action_size: int,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: Literal["tanh", "relu"] = "tanh",
) -> Policy:
    """Build a policy by name: ``linear``, ``mlp`` or ``gru`` (hidden size ``hidden_sizes[0]``)."""
    if kind == "linear":
        return Linear(observation_size, action_size)
    if kind == "mlp":
        return MLP(observation_size, action_size, tuple(hidden_sizes), activation)
    if kind == "gru":
        return GRU(observation_size, action_size, hidden_sizes[0])
    raise ValueError(f"policy must be one of {', '.join(POLICIES)}, not {kind!r}")
