"""Policies of antithetic pairs without their parameters: ``W x ± sigma E x``.

Both members of a pair share theta and differ in the sign of one noise vector. A layer is therefore
one matrix product that all particles share, and one with the pair's own noise that serves both
members: theta ± sigma eps [N, 2, P] is never formed and the noise is read once for both. In low
precision the split is also the more exact one, since sigma E is not rounded to the grid of W.

`pes_rl.policies` take their array namespace and weights as arguments, so they need not know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pes_rl.policies import Policy

Array = jax.Array
# Elements of a matrix. XLA's CPU compiler chooses a matrix product's algorithm by all of its sizes,
# the number of pairs among them, and for tiny ones another order of summation with it.
_SMALL = 1024
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}  # None: as theta has it


class Paired(NamedTuple):
    """One weight of a policy: ``center`` [...] for theta, ``noise`` [n, ...] for the pairs."""

    center: Array
    noise: Array
    perturb_std: float

    def matmul(self, x: Array) -> Array:
        """The members' products [n, 2, out] with x [n, 2, in]."""
        kind = {"precision": "highest", "preferred_element_type": x.dtype}
        narrow = x.astype(self.center.dtype)
        if self.center.size <= _SMALL:
            terms = self.center.astype(x.dtype) * narrow.astype(x.dtype)[..., None, :]
            shared = terms.sum(axis=-1)
        else:
            shared = jnp.einsum("oi,nsi->nso", self.center, narrow, **kind)
        own = jnp.einsum("noi,nsi->nso", self.noise, narrow, **kind)
        return shared + _signs(x.dtype) * own * self.perturb_std

    def __radd__(self, x: Array) -> Array:
        """The members' sums [n, 2, out] of x [n, 2, out] and this bias."""
        center, noise = self.center.astype(x.dtype), self.noise.astype(x.dtype)
        return x + center + _signs(x.dtype) * noise[:, None] * self.perturb_std


def _signs(dtype: Any) -> Array:
    return jnp.array([[1], [-1]], dtype)


class PairedNumpy:
    """`jax.numpy`, whose ``matmul(W, x)`` takes a `Paired` W and x [n, 2, in, 1]."""

    @staticmethod
    def matmul(weight: Paired, x: Array) -> Array:
        """Products [n, 2, out, 1]."""
        return weight.matmul(x[..., 0])[..., None]

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)


def paired_weights(
    policy: Policy, theta: Array, noise: Array, perturb_std: float, dtype: Any = None
) -> tuple[Paired, ...]:
    """The policy's weights for theta [P] ± sigma noise [n, P], rounded to ``dtype`` if given."""
    dtype = dtype or theta.dtype
    center, own = policy.unpack(theta.astype(dtype)), policy.unpack(noise.astype(dtype))
    return tuple(Paired(c, e, perturb_std) for c, e in zip(center, own, strict=True))
