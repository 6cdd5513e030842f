"""What every policy can do: a frozen description with pure functions over a parameter vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np  # not when imported: configurations are made from this module too

Activation = Literal["tanh", "relu"]
Array = Any  # of NumPy or of JAX


class Graph(NamedTuple):
    """Part of an ONNX graph: lines of its textual syntax, and the arrays that they name."""

    lines: list[str]
    arrays: dict[str, np.ndarray]


class Policy(Protocol):
    """A network from observations [O] to outputs [A]; its P parameters, theta, are passed in.

    Weights and inputs share their leading dimensions, so one call serves a single policy, a NumPy
    population with its own weights per row, and a vmapped JAX particle. Each row is computed by
    the same kernel whatever the number of rows, so results do not depend on how particles are
    placed.
    """

    # Every policy is a frozen dataclass: a saved one is described by its fields.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def make(
        cls,
        observation_size: int,
        action_size: int,
        hidden_sizes: tuple[int, ...],
        activation: Activation,
    ) -> Self:
        """The policy of these sizes; one without an activation to choose ignores it."""
        ...

    @property
    def observation_size(self) -> int:
        """O, the length of a flattened observation."""
        ...

    @property
    def action_size(self) -> int:
        """A, the length of the output."""
        ...

    @property
    def state_size(self) -> int:
        """H, the length of the memory between env steps; 0 without one."""
        ...

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        ...

    def init(self, seed: int) -> np.ndarray:
        """Initial theta [P], float32, whose output is zero."""
        ...

    def unpack(self, theta: Array) -> tuple[Array, ...]:
        """Weights as views of theta [..., P]."""
        ...

    def apply(
        self, xp: Any, weights: tuple[Array, ...], x: Array, state: Array
    ) -> tuple[Array, Array]:
        """Output [..., A] and new state [..., H] for normalised observations ``x`` [..., O].

        ``xp`` is the arrays' namespace, ``numpy``, ``jax.numpy`` or one that acts like them.
        """
        ...

    def onnx(self, weights: tuple[np.ndarray, ...]) -> Graph:
        """The same network in ONNX: ``output`` from ``x0``, ``next_state`` from ``state``."""
        ...
