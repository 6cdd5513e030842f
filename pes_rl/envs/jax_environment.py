"""What an engine that runs inside a JAX program must offer: an environment of ONE particle.

Populations, seeds, episodes, time limits and broken simulations are added around it, so that one
small pair of functions serves training, evaluation and speed measurements on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from pes_rl.policies.action import ActionSpec

Array = jax.Array


class JaxTransition(NamedTuple):
    """One env step of one particle.

    Attributes:
      observation: [O] what the policy sees next; carried, never recomputed from the state.
      reward: scalar, of the same floating type.
      terminated: bool scalar, the task's own end (time limits are the runner's business).
    """

    observation: Array
    reward: Array
    terminated: Array


class JaxEnvironment(NamedTuple):
    """Pure functions of one particle, to be vmapped, scanned and jitted by whoever runs them.

    Nothing resets by itself, and a state may be stepped after its episode has ended: what comes
    out then means nothing. A simulation that breaks down shows it by an observation or a reward
    that is not finite.

    Attributes:
      reset: ``key -> (state, observation [O])``, the start of an episode from a typed JAX key.
      step: ``(state, action [A]) -> (state, JaxTransition)``; ``action`` lies in the box. The state
        keeps the structure, shapes and dtypes that ``reset`` gave it.
      observation_size: O.
      action: the action space, of size A.
    """

    reset: Callable[[Any], tuple[Any, Array]]
    step: Callable[[Any, Array], tuple[Any, JaxTransition]]
    observation_size: int
    action: ActionSpec
