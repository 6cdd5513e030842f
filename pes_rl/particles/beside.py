"""Episodes of one policy that are stepped together with a population, in calls of their simulator.

On an accelerator an env step takes hardly longer for a few particles more, and a call of their own
would take as long as the population's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pes_rl.envs.jax_environment import JaxEnvironment
from pes_rl.particles.episodes import Episodes, make_turn
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine

Array = jax.Array
Advance = Callable[[Any, Array], tuple[Any, Any]]


class Players(NamedTuple):
    """Episodes [E] under way, and what each has gained so far, [E]; NaN once one has broken down.

    They are over too at a time limit.
    """

    episodes: Episodes
    gained: Array


class Beside(NamedTuple):
    """Who is stepped together with a population.

    Attributes:
      weights: the policy's, of the one theta.
      players: their episodes.
      horizon: env steps of these at most.
    """

    weights: Any
    players: Players
    horizon: int


def together(
    environment: JaxEnvironment, policy: Policy, norm: Affine, beside: Beside, count: int
) -> Advance:
    """``(joined, actions [count]) -> (joined, transitions [count])``, see `joined`.

    One call of the simulator for the ``count`` particles of the population and the players.
    """
    turn, step = make_turn(policy, environment.action), jax.vmap(environment.step)

    def advance(carried: tuple[Any, Players], action: Array) -> tuple[Any, Any]:
        inner, (now, gained) = carried
        own, hidden = turn.act(beside.weights, norm, now)
        inner, out = step(inner, jnp.concatenate([action, own.astype(action.dtype)]))
        out, others = _split(out, count)
        after, reward = turn.follow(now, now.environment, hidden, others)
        after = after._replace(
            observation=after.observation.astype(now.observation.dtype),
            ended=after.ended | (after.length >= beside.horizon),
        )
        return (inner, Players(after, gained + reward.astype(gained.dtype))), out

    return advance


def joined(inner: Any, players: Players) -> tuple[Any, Players]:
    """The states of all that are stepped in one call, and the players without their own."""
    now = players.episodes
    whole = jax.tree.map(lambda x, more: jnp.concatenate([x, more]), inner, now.environment)
    return whole, players._replace(episodes=now._replace(environment=()))


def parted(carried: tuple[Any, Players], count: int) -> tuple[Any, Players]:
    """What `joined` made of ``count`` states and the players."""
    whole, players = carried
    inner, own = _split(whole, count)
    return inner, players._replace(episodes=players.episodes._replace(environment=own))


def _split(tree: Any, count: int) -> tuple[Any, Any]:
    first = jax.tree.map(lambda x: x[:count], tree)
    return first, jax.tree.map(lambda x: x[count:], tree)


class Shares(NamedTuple):
    """How L players are shared out among parts of a population.

    Attributes:
      rows: [parts, n], who plays where; some twice, where they cannot be spread evenly.
      part: [L], the part in which each is found.
      place: [L], and where in it.
    """

    rows: np.ndarray
    part: np.ndarray
    place: np.ndarray


def shares(number: int, parts: int) -> Shares:
    """As evenly as it goes: every part has ``ceil(number / parts)`` of them."""
    size = -(-number // parts)
    start = np.minimum(size * np.arange(parts), number - size)
    rows = start[:, None] + np.arange(size)
    part, place = np.unravel_index(np.unique(rows, return_index=True)[1], rows.shape)
    return Shares(rows, part, place)
