"""Any Gymnasium environment, with observations that flatten and the usual kinds of actions.

Environments are stepped one by one, live ones only: Gymnasium's vector classes step all of them
and reset on their own, which would waste steps and lose the pairing. Where an environment can be
saved exactly (`pes_rl.envs.saving`) so is a run; otherwise a resumed run restarts every episode.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.envs.gymnasium_make import make_env, time_limit
from pes_rl.envs.gymnasium_spaces import action_spec, native, observation_spec
from pes_rl.envs.saving import load, save, survives
from pes_rl.envs.simulator import OPAQUE, Gains, Stretch, Transition
from pes_rl.errors import UserError

_RESET = "reset must return (observation, info)"
_STEP = "step must return (observation, reward, terminated, truncated, info)"
_NUMBERS = (float, int, np.floating, np.integer)
_STRETCH = 50  # env steps
_LENGTH = 8  # bytes before each saved environment that say how long it is


class GymnasiumSimulator:
    """``num_particles`` instances of one Gymnasium environment.

    Attributes:
      observation: how observations are flattened.
      observation_size: O.
      action: the action space.
      action_shape: shape of an action.
    """

    def __init__(
        self,
        name: str,
        num_particles: int,
        kwargs: Mapping[str, Any] | None = None,
        wrappers: str | None = None,
    ):
        """Make the environments; see `pes_rl.envs.gymnasium_make.make_env`."""
        self._name, self._made_with = name, (kwargs, wrappers)
        self._envs: list[Any] = []
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            for _ in range(num_particles):
                self._envs.append(make_env(name, kwargs, wrappers))
            space = self._envs[0].action_space
            self.observation = observation_spec(self._envs[0].observation_space, name)
            self.action = action_spec(space, name)
            opened.pop_all()
        self.observation_size = self.observation.size
        self._space, self.action_shape = space, space.shape
        self._limit = time_limit(self._envs[0]) or math.inf
        self._elapsed = np.full(num_particles, -1)  # before its first episode

    @property
    def exact(self) -> bool:
        """Whether environments can be saved exactly; found out by trying one."""
        return self._tried[0]

    @property
    def remarks(self) -> list[str]:
        """What a user should know of these environments."""
        if not self._tried[1]:
            return []
        return [
            f"environment {self._name!r} draws from numpy.random, which its reset does not seed: "
            "two runs with one seed will differ; it should draw from self.np_random"
        ]

    @cached_property
    def _tried(self) -> tuple[bool, bool]:
        """What `_try` finds with an environment of its own: those here may be in use."""
        with contextlib.closing(GymnasiumSimulator(self._name, 1, *self._made_with)) as other:
            return other._try()

    def _try(self) -> tuple[bool, bool]:
        """Whether environments can be saved, and whether they draw from NumPy's own generator."""
        rng = np.random.default_rng(0)

        def act() -> Any:
            output = rng.standard_normal(self.action.size).astype(np.float32)
            return native(self._space, self.action.to_action(np, output))

        before = np.random.get_state()  # noqa: NPY002  # the one that others draw from
        first = np.array([0])
        self.reset(first, [rng])  # whose breaches of the rules have words of their own
        self.step(first, self.action.to_action(np, np.zeros((1, self.action.size), np.float32)))
        saved = survives(self._envs[0], act)
        after = np.random.get_state()  # noqa: NPY002
        drawn = any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return saved, drawn

    def reset(self, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Start new episodes in ``rows``; observations [R, O]."""
        seeds = [int(rng.integers(2**31 - 1)) for rng in rngs]
        starts = []
        for row, seed in zip(rows, seeds, strict=True):
            start, _ = self._answer(_RESET, 2, partial(self._envs[row].reset, seed=seed))
            starts.append(self._flat(start, "reset"))
        self._elapsed[rows] = 0
        flat = np.stack(starts).astype(np.float64)
        if not np.isfinite(flat).all():
            raise UserError(
                f"environment {self._name!r} starts with an observation that is not finite; "
                "policies need finite numbers, so clip it in the environment or a wrapper"
            )
        return flat

    def step(self, rows: np.ndarray, action: np.ndarray) -> Transition:
        """Advance ``rows`` by one env step."""
        observation = np.empty((len(rows), self.observation_size))
        reward, over = np.empty(len(rows)), np.zeros(len(rows), bool)
        self._elapsed[rows] += 1
        actions = np.asarray(action, self._space.dtype).reshape(len(rows), *self.action_shape)
        for i, (row, act) in enumerate(zip(rows, actions, strict=True)):
            answer = self._answer(_STEP, 5, self._envs[row].step, act)
            seen, gained, terminated, truncated, _ = answer
            if not isinstance(gained, _NUMBERS):
                gained = self._number(gained)
            observation[i] = self._flat(seen, "step")
            reward[i] = gained
            # Ends by the time limit are the runner's business; others are the environment's own.
            over[i] = terminated or (truncated and self._elapsed[row] < self._limit)
        sound = np.isfinite(observation).all(axis=1) & np.isfinite(reward)
        return Transition(observation, np.where(sound, reward, 0), over, ~sound)

    def _answer(self, rule: str, size: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the environment returns: ``size`` things, or UserError that tells the rule."""
        try:
            answer = call(*arguments)
        except ValueError as error:
            if _in_wrapper(error):
                raise self._breach(rule, error) from error
            raise
        if not isinstance(answer, tuple) or len(answer) != size:
            raise self._breach(rule, answer)
        return answer

    def _flat(self, observation: Any, when: str) -> np.ndarray:
        kind = self.observation
        if (
            kind.kind == "array"
            and isinstance(observation, np.ndarray)
            and observation.shape == kind.shape
            and observation.dtype.kind in "fiub"
        ):
            return observation.reshape(-1)  # what nearly all are
        try:
            flat = kind.flatten(observation)
            if flat.ndim != 1:
                raise ValueError(f"expected {kind}, got shape {np.shape(observation)}")
        except (TypeError, ValueError) as error:
            raise UserError(
                f"environment {self._name!r}: the observation of {when} is not in its "
                f"observation_space: {error}"
            ) from error
        return flat

    def _number(self, reward: Any) -> float:
        if np.ndim(reward) == 0 and reward is not None:
            with contextlib.suppress(TypeError, ValueError):
                return float(reward)
        raise self._breach("the reward must be a number", reward)

    def _breach(self, rule: str, got: Any) -> UserError:
        shown = f"{len(got)} values" if isinstance(got, tuple) else repr(got)[:60]
        name = self._name
        return UserError(f"environment {name!r} breaks Gymnasium's rules: {rule}, got {shown}")

    def stretch(self, rows: np.ndarray, length: int) -> Stretch:
        """Begin at most ``length`` env steps of ``rows``."""
        return _Stretch(self, rows, min(length, _STRETCH))

    def state(self) -> dict[str, np.ndarray]:
        """The environments, each as bytes in a row [n, L]; nothing where that would not do."""
        if not self.exact:
            return {}
        begun = zip(self._envs, self._elapsed >= 0, strict=True)
        saved = [save(env) if has else b"" for env, has in begun]
        width = max(map(len, saved)) + _LENGTH
        rows = [len(s).to_bytes(_LENGTH, "little") + s.ljust(width - _LENGTH, b"\0") for s in saved]
        table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
        return {OPAQUE: table.copy(), "elapsed": self._elapsed.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned; a row of zeros holds nothing to continue."""
        if not self.exact:
            return
        self._elapsed[:] = state["elapsed"]
        for row, saved in enumerate(state[OPAQUE]):
            size = int.from_bytes(saved[:_LENGTH].tobytes(), "little")
            if size:
                blob = saved[_LENGTH : _LENGTH + size].tobytes()
                self._envs[row] = load(self._envs[row], blob)

    def close(self) -> None:
        """Close every environment; what they raise then is of no consequence any more."""
        for env in self._envs:
            with contextlib.suppress(Exception):
                env.close()
        self._envs = []


class _Stretch:
    """Env steps of some rows; those whose episode is over are stepped no more and stand still."""

    def __init__(self, simulator: GymnasiumSimulator, rows: np.ndarray, length: int):
        self.length = length
        self._simulator, self._rows = simulator, rows
        self._live = np.ones(len(rows), bool)
        self._seen = np.zeros((len(rows), simulator.observation_size))
        shape, self._taken = (length, len(rows)), 0
        self._gains = Gains(np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool))

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance by one env step with actions [R, A]; observations [R, O]."""
        live, now = self._live, self._taken
        out = self._simulator.step(self._rows[live], action[live])
        self._seen[live] = out.observation
        self._gains.reward[now, live] = out.reward
        self._gains.terminated[now, live] = out.terminated
        self._gains.unstable[now, live] = out.unstable
        self._taken += 1
        over = out.terminated | out.unstable
        if over.any():
            self._live = live.copy()
            self._live[live] = ~over
            self.length = self.length if self._live.any() else self._taken
        return self._seen

    def settle(self) -> Gains:
        """What the steps brought."""
        return Gains(*(kept[: self._taken] for kept in self._gains))


def _in_wrapper(error: ValueError) -> bool:
    """Whether a wrapper of Gymnasium's stumbled over what an environment returned."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "to unpack" in str(error) and "gymnasium" in Path(last.filename).parts
