"""Particles of Gymnasium environments in worker processes, which unroll whole segments each.

A worker holds a share of the environments together with the policy that acts in them, so there is
one message a segment and not one a step. What comes out does not depend on their number.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pes_rl.envs.registry import Environment
from pes_rl.envs.simulator import OPAQUE, Simulator
from pes_rl.errors import UserError
from pes_rl.particles.crew import Crew, Tally
from pes_rl.particles.rollout import NOWHERE, Spacing
from pes_rl.particles.worker import About, Reply
from pes_rl.policies import Policy
from pes_rl.policies.normalizer import Affine

_COMMAND = (sys.executable, "-P", "-c", "from pes_rl.particles.worker import main; main()")
_CLOSING_S = 5.0


class Workers:
    """Worker processes for one environment, started at once and ended by `close`."""

    def __init__(self, number: int, environment: Environment):
        self.environment, self._keys = environment, 0
        self.registration = registration(environment)
        # What this process can import, the workers can; their matrix products take one core each.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        settings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._processes = [
            subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=settings,
                start_new_session=True,
            )
            for _ in range(number)
        ]

    def __len__(self) -> int:
        return len(self._processes)

    def new_key(self) -> int:
        """What further environments are called by."""
        self._keys += 1
        return self._keys

    def call(self, method: str, key: int, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Have the first workers call ``method``, each with its own ``arguments``; the results.

        Raises what one of them raised, or UserError if one has died.
        """
        asked = self._processes[: len(arguments)]
        for process, own in zip(asked, arguments, strict=True):
            with contextlib.suppress(OSError):  # its answer, which is missing, will tell
                assert process.stdin is not None
                pickle.dump((method, key, own), process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
        replies = [self._reply(process) for process in asked]
        for reply in replies:
            if reply.problem is not None:
                if reply.where:
                    reply.problem.add_note(f"In a worker process:\n{reply.where}")
                raise reply.problem
        return [reply.result for reply in replies]

    def _reply(self, process: subprocess.Popen[bytes]) -> Reply:
        assert process.stdout is not None
        try:
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        what = f"a worker process of environment {self.environment.name!r}"
        return Reply(None, UserError(f"{what} {how}; the run can be resumed"))

    def close(self) -> None:
        """End the processes; one that does not end by itself is killed."""
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_CLOSING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()  # pyright: ignore[reportOptionalMemberAccess]


class RemoteSimulator:
    """``num_particles`` environments spread over workers; a `RemoteCrew` plays in them.

    The attributes are those of `pes_rl.envs.simulator.Simulator`.
    """

    def __init__(self, workers: Workers, num_particles: int):
        self.workers, self._key = workers, workers.new_key()
        self.shares = np.array_split(np.arange(num_particles), min(len(workers), num_particles))
        what = workers.environment, workers.registration
        asked = [(*what, len(rows), i == 0) for i, rows in enumerate(self.shares)]
        about: About = workers.call("open", self._key, asked)[0]
        self.observation, self.action, self.action_shape, self.exact, self.remarks = about
        self.observation_size = self.observation.size

    def call(self, method: str, arguments: Sequence[Sequence[Any]] | None = None) -> list[Any]:
        """Have every worker call ``method`` for its share."""
        own = [()] * len(self.shares) if arguments is None else arguments
        return self.workers.call(method, self._key, own)

    def close(self) -> None:
        """End the workers, which close their environments."""
        self.workers.close()


class RemoteCrew:
    """Particles in worker processes; see `pes_rl.particles.crew.Crew`, which each of them has."""

    def __init__(self, simulator: RemoteSimulator, policy: Policy, num_particles: int):
        self.simulator, self.observation_size = simulator, policy.observation_size
        self.ended = np.zeros(num_particles, bool)
        simulator.call("man", [(policy, len(rows)) for rows in simulator.shares])

    def restart(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """New episodes in ``rows``."""
        if not len(rows):
            return
        asked = []
        for share in self.simulator.shares:
            mine = np.flatnonzero((rows >= share[0]) & (rows <= share[-1]))
            asked.append((rows[mine] - share[0], [rngs[int(i)] for i in mine]))
        self.simulator.call("restart", asked)
        self.ended[rows] = False

    def unroll(
        self,
        theta: np.ndarray,
        norm: Affine,
        limit: np.ndarray,
        observe: bool,
        spacing: Spacing = NOWHERE,
    ) -> Tally:
        """Advance every live row by up to ``limit`` [n] env steps with its own theta [n, P]."""
        shares = self.simulator.shares
        asked = [(theta[rows], norm, limit[rows], observe, spacing) for rows in shares]
        parts, ended = zip(*self.simulator.call("unroll", asked), strict=True)
        self.ended = np.concatenate(ended)
        return Tally(*map(np.concatenate, zip(*parts, strict=True)))

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all carried arrays; of a particle that has ended nothing is carried."""
        parts = self.simulator.call("state")
        if OPAQUE in parts[0]:
            length = max(part[OPAQUE].shape[1] for part in parts)
            parts = [{**part, OPAQUE: widened(part[OPAQUE], length)} for part in parts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        shares = self.simulator.shares
        own = [({name: rows[share] for name, rows in state.items()},) for share in shares]
        self.simulator.call("restore", own)
        self.ended = state["ended"].copy()


def registration(environment: Environment) -> Any:
    """What Gymnasium knows of an id, which the calling script alone may have told it; else None."""
    import gymnasium

    name = environment.gymnasium_id or ""
    return gymnasium.registry.get(name.rpartition(":")[2])


def can_leave(environment: Environment) -> bool:
    """Whether other processes can make it: not what is defined in a script, which they lack."""
    spec = registration(environment)
    names = [environment.name, environment.wrappers or ""]
    names.append(getattr(getattr(spec, "entry_point", None), "__module__", "") + ":")
    if any(name.partition(":")[0] == "__main__" for name in names):
        return False
    try:
        pickle.dumps(spec)
    except (pickle.PicklingError, AttributeError, TypeError):  # of a function's inside
        return False
    return True


def make_crew(
    simulator: Simulator | RemoteSimulator, policy: Policy, num_particles: int
) -> Crew | RemoteCrew:
    """Particles that act by ``policy`` in the environments of ``simulator``."""
    if isinstance(simulator, RemoteSimulator):
        return RemoteCrew(simulator, policy, num_particles)
    return Crew(simulator, policy, num_particles)


def widened(rows: np.ndarray, length: int) -> np.ndarray:
    """Rows [n, L] filled up with zeros to [n, length]."""
    return np.pad(rows, ((0, 0), (0, length - rows.shape[1])))
