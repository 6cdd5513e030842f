"""Whole episodes of one policy in a JAX environment, side by side, as training and scores see them.

An episode is over at its own end or at the step at which the simulation breaks down; who plays
says where the time limit is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.policies import Policy
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Affine

Array = jax.Array


class Episodes(NamedTuple):
    """E episodes under way.

    Attributes:
      environment: their states, leaves [E, ...].
      observation: [E, O], what the policy sees next.
      hidden: [E, H], its memory.
      ended: bool [E], whether they are over.
      length: int32 [E], env steps so far.
    """

    environment: Any
    observation: Array
    hidden: Array
    ended: Array
    length: Array


def begin(environment: JaxEnvironment, policy: Policy, keys: Array) -> Episodes:
    """The starts of episodes with typed keys [E]."""
    state, observation = jax.vmap(environment.reset)(keys)
    count = len(observation)
    hidden = jnp.zeros((count, policy.state_size), observation.dtype)
    return Episodes(state, observation, hidden, jnp.zeros(count, bool), jnp.zeros(count, jnp.int32))


class Turn(NamedTuple):
    """One env step of episodes in two halves, for whoever steps the environments in between.

    Attributes:
      act: ``(weights, affine, episodes) -> (actions [E, ...], hidden [E, H])``.
      follow: ``(episodes, environments, hidden, transitions) -> (episodes, rewards [E])``.
    """

    act: Callable[[Any, Affine, Episodes], tuple[Array, Array]]
    follow: Callable[[Episodes, Any, Array, JaxTransition], tuple[Episodes, Array]]


def make_turn(policy: Policy, action: ActionSpec) -> Turn:
    """The policy's turns; what `make_step` says of rewards holds."""

    def act(weights: Any, norm: Affine, now: Episodes) -> tuple[Array, Array]:
        seen = norm.normalize(jnp, now.observation)
        output, hidden = policy.apply(jnp, weights, seen, now.hidden)
        return action.to_action(jnp, output), hidden.astype(now.hidden.dtype)

    def follow(
        now: Episodes, state: Any, hidden: Array, out: JaxTransition
    ) -> tuple[Episodes, Array]:
        sound = jnp.isfinite(out.reward) & jnp.isfinite(out.observation).all(axis=-1)
        reward = jnp.where(sound, out.reward, jnp.nan)
        after = Episodes(
            state,
            out.observation,
            hidden,
            now.ended | out.terminated.astype(bool) | ~sound,
            now.length + ~now.ended,
        )
        return after, jnp.where(now.ended, 0, reward)

    return Turn(act, follow)


def make_step(
    environment: JaxEnvironment, policy: Policy, action: ActionSpec
) -> Callable[[Any, Affine, Episodes], tuple[Episodes, Array]]:
    """``(weights, affine, episodes) -> (episodes, rewards [E])``: one env step of those not over.

    The reward is NaN at the step at which a simulation broke down, and 0 where an episode is over.
    """
    turn = make_turn(policy, action)

    def step(weights: Any, norm: Affine, now: Episodes) -> tuple[Episodes, Array]:
        chosen, hidden = turn.act(weights, norm, now)
        state, out = jax.vmap(environment.step)(now.environment, chosen)
        return turn.follow(now, state, hidden, out)

    return step


def make_player(
    environment: JaxEnvironment, policy: Policy, action: ActionSpec, most: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two compiled functions that play E episodes, up to ``most`` env steps in one call.

    ``keys [E] -> episodes`` begins them, and ``(theta [P], affine, episodes, steps) -> (episodes,
    rewards [most, E])`` goes on for ``steps`` env steps, or until all are over; rows of steps that
    were not made are 0. However many steps a call makes, each is computed by the same program, so
    the same episodes have the same bits.
    """
    step = make_step(environment, policy, action)

    def play(theta: Array, norm: Affine, now: Episodes, steps: Array) -> tuple[Episodes, Array]:
        weights = policy.unpack(theta)
        rewards = jnp.zeros((most, len(now.ended)), now.observation.dtype)

        def unfinished(loop: tuple[Array, Episodes, Array]) -> Array:
            made, now, _ = loop
            return (made < steps) & ~now.ended.all()

        def body(loop: tuple[Array, Episodes, Array]) -> tuple[Array, Episodes, Array]:
            made, now, rewards = loop
            now, reward = step(weights, norm, now)
            return made + 1, now, rewards.at[made].set(reward.astype(rewards.dtype))

        with jax.default_matmul_precision("highest"):  # as in training
            loop = jnp.zeros((), jnp.int32), now, rewards
            return jax.lax.while_loop(unfinished, body, loop)[1:]

    return jax.jit(lambda keys: begin(environment, policy, keys)), jax.jit(play)
