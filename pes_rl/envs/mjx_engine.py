"""Gymnasium's MuJoCo tasks on MJX, MuJoCo's own port to JAX, from the same task definitions.

`PARITY` says, task by task, how near MJX comes to MuJoCo's C engine.
"""

# MuJoCo's type stubs leave out most of its names.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.envs.jax_environment import JaxEnvironment, JaxTransition
from pes_rl.envs.mjx_capsules import capsules_of_mujoco, use_capsules_of_mujoco_in_warp
from pes_rl.envs.mjx_warp import require_warp, with_room
from pes_rl.envs.mujoco_engine import load_model
from pes_rl.envs.packages import import_quietly
from pes_rl.envs.task import Task
from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec

Array = jax.Array


class Parity(NamedTuple):
    """How far MJX is from the C engine after one env step from the same state.

    Differences are the largest of observation and reward, |ours - theirs| / (1 + |theirs|).

    Attributes:
      tolerance: of the JAX implementation in float64; None where it differs by more than rounding.
      note: why.
      warp: of Warp, which is float32, from the C engine with Newton's solver.
    """

    tolerance: float | None
    note: str = ""
    warp: float = 2e-3


_EXACT = Parity(1e-9)
_SOLVER = Parity(None, "solver Newton in place of PGS, other contact forces")

PARITY: dict[str, Parity] = {
    "Ant": _EXACT,
    "HalfCheetah": _EXACT,
    "Hopper": _EXACT,
    "Humanoid": _SOLVER,
    # It lies on stiff contacts, whose forces follow the rounding of its height.
    "HumanoidStandup": _SOLVER._replace(warp=0.05),
    "InvertedDoublePendulum": _EXACT,
    "InvertedPendulum": _EXACT,
    "Pusher": _EXACT,
    "Reacher": _EXACT,
    "Swimmer": _EXACT,
    "Walker2d": _EXACT,
}


class MjxState(NamedTuple):
    """All that the next env step depends on; the rest of MJX's data is computed anew.

    Attributes:
      qpos: positions [nq].
      qvel: velocities [nv].
      warmstart: accelerations that the constraint solver begins with [nv].
      tracked: what the next reward needs to know of this state [k].
    """

    qpos: Array
    qvel: Array
    warmstart: Array
    tracked: Array


def mjx_environment(task: Task, backend: str = "jax") -> JaxEnvironment:
    """The task on MJX, in JAX's default precision.

    ``backend`` is ``jax``; ``newton``, the same with Newton's solver where the model asks for
    another one; or ``warp``, MJX's NVIDIA implementation, always with Newton's solver. UserError
    where ``warp`` cannot run.
    """
    if backend == "warp" and jax.default_backend() != "gpu":
        raise UserError(
            f"backend 'warp' needs an NVIDIA GPU, but JAX computes on "
            f"{jax.default_backend()}; install jax[cuda12], or use --backend jax"
        )
    engine = MjxTask(task, backend)
    return JaxEnvironment(engine.reset, engine.step, task.observation_size, engine.action)


class MjxTask:
    """A task's model on the device, and its pure functions of one particle."""

    def __init__(self, task: Task, backend: str = "jax"):
        self.task = task
        if backend == "warp":
            require_warp()
        self._mjx = mjx = import_quietly("mujoco.mjx")
        model = load_model(task)
        if backend in ("newton", "warp"):
            model.opt.solver = mjx.SolverType.NEWTON
        self._forces_follow = task.contact_forces and backend != "warp"
        if backend == "warp":
            use_capsules_of_mujoco_in_warp()
            # After each stage of a step, so the last one's are left, as the task defines them.
            forces = {"opt._impl.run_rne_postconstraint": task.contact_forces}
            self.model = mjx.put_model(model, impl="warp").tree_replace(forces)
            complete = with_room(mjx, model)
        else:
            self.model = mjx.put_model(model, impl="jax")
            blank = mjx.make_data(model, impl="jax")

            def complete(function: Callable[..., Any], /) -> Callable[..., Any]:
                return partial(function, blank)

        self._forward, self._substeps = complete(self._derive), complete(self._advance)
        low, high = model.actuator_ctrlrange.T
        self.action = ActionSpec("box", model.nu, tuple(low), tuple(high))

    def _derive(self, blank: Any, qpos: Array, qvel: Array) -> dict[str, Array]:
        """The fields of a state that the task reads."""
        with capsules_of_mujoco():
            data = self._mjx.forward(self.model, blank.replace(qpos=qpos, qvel=qvel))
        return {name: _field(data, name) for name in self.task.fields}

    def _advance(
        self, blank: Any, qpos: Array, qvel: Array, warmstart: Array, action: Array
    ) -> tuple[Array, Array, Array, dict[str, Array]]:
        """The physics steps of one env step, and the fields after the last of them."""
        task, mjx = self.task, self._mjx

        def substep(_: Any, carry: tuple) -> tuple:
            qpos, qvel, warmstart, _ = carry
            data = blank.replace(
                qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=action.astype(qpos.dtype)
            )
            with capsules_of_mujoco():
                data = mjx.step(self.model, data)
            if self._forces_follow:
                data = mjx.rne_postconstraint(self.model, data)
            fields = {name: _field(data, name) for name in task.fields}
            return data.qpos, data.qvel, data.qacc_warmstart, fields

        fields = {name: jnp.zeros_like(_field(blank, name)) for name in task.fields}
        carry = (qpos, qvel, warmstart, fields)
        return jax.lax.fori_loop(0, task.frame_skip, substep, carry)

    def reset(self, key: Array) -> tuple[MjxState, Array]:
        """Start of an episode."""
        for_uniforms, for_normals = jax.random.split(key)
        uniforms = jax.random.uniform(for_uniforms, (self.task.num_uniforms,))
        normals = jax.random.normal(for_normals, (self.task.num_normals,))
        return self.reset_to(*self.task.reset(jnp, self.model, uniforms, normals))

    def reset_to(self, qpos: Array, qvel: Array) -> tuple[MjxState, Array]:
        """Start of an episode at given positions [nq] and velocities [nv]."""
        fields = self._forward(qpos, qvel) if self.task.fields else {}
        if self.task.contact_forces:
            fields["cfrc_ext"] = jnp.zeros_like(fields["cfrc_ext"])
        # The positions as given: MJX normalises quaternions in its data, C leaves them alone.
        seen = SimpleNamespace(qpos=qpos, qvel=qvel, **fields)
        tracked = self.task.track(jnp, self.model, seen)
        state = MjxState(qpos, qvel, jnp.zeros_like(qvel), tracked)
        return state, self.task.observe(jnp, self.model, seen)

    def step(self, state: MjxState, action: Array) -> tuple[MjxState, JaxTransition]:
        """One env step."""
        task, model = self.task, self.model
        qpos, qvel, warmstart, fields = self._substeps(*state[:3], action)
        seen = SimpleNamespace(qpos=qpos, qvel=qvel, **fields)
        reward, terminated = task.reward(jnp, model, state.tracked, seen, action)
        tracked = task.track(jnp, model, seen)
        transition = JaxTransition(task.observe(jnp, model, seen), reward, terminated)
        return MjxState(qpos, qvel, warmstart, tracked), transition


def _field(data: Any, name: str) -> Array:
    """A field of MJX's data; some are kept apart, with the implementation."""
    public = name in type(data).__dataclass_fields__
    return getattr(data if public else data._impl, name)
