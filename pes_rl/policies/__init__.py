"""Policies, a file for each family, and ``KINDS``, the table of them.

A new policy needs its file, with all that `Policy` has, and its entry in the table. Configurations
are made from the table, so neither NumPy nor a policy is imported before one is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, NamedTuple

from pes_rl.policies.protocol import Activation, Policy

__all__ = [
    "KINDS",
    "Activation",
    "Kind",
    "Policy",
    "PolicyKind",
    "kind_of",
    "make_policy",
    "policy_class",
]

PolicyKind = Literal["linear", "linear-bias", "mlp", "gru"]


class Kind(NamedTuple):
    """What is known of a kind of policy before it is imported.

    Attributes:
      load: imports its class.
      hidden_sizes: what they are where none are given.
      num_sizes: how many of them it can have.
      sizes: what they are sizes of, in words for ``--help``; empty where there are none.
      activated: whether it has an activation to choose.
    """

    load: Callable[[], type[Policy]]
    hidden_sizes: tuple[int, ...] = ()
    num_sizes: range = range(1)
    sizes: str = ""
    activated: bool = False


def _linear() -> type[Policy]:
    from pes_rl.policies.linear import Linear

    return Linear


def _linear_bias() -> type[Policy]:
    from pes_rl.policies.linear import LinearBias

    return LinearBias


def _mlp() -> type[Policy]:
    from pes_rl.policies.mlp import MLP

    return MLP


def _gru() -> type[Policy]:
    from pes_rl.policies.gru import GRU

    return GRU


KINDS: dict[PolicyKind, Kind] = {
    "linear": Kind(_linear),
    "linear-bias": Kind(_linear_bias),
    "mlp": Kind(_mlp, (64, 64), range(1, sys.maxsize), "hidden layer sizes", activated=True),
    "gru": Kind(_gru, (64,), range(1, 2), "state size"),
}


def policy_class(kind: str) -> type[Policy]:
    """The class of policies of this kind; ValueError if there is no such kind."""
    for name, known in KINDS.items():
        if name == kind:
            return known.load()
    raise ValueError(f"policy must be one of {', '.join(KINDS)}, not {kind!r}")


def kind_of(policy: Policy) -> PolicyKind:
    """The name of a policy's kind."""
    return next(name for name, known in KINDS.items() if isinstance(policy, known.load()))


def make_policy(
    kind: str,
    observation_size: int,
    action_size: int,
    hidden_sizes: tuple[int, ...],
    activation: Activation = "tanh",
) -> Policy:
    """A policy of the kind called ``kind``."""
    return policy_class(kind).make(observation_size, action_size, hidden_sizes, activation)
