"""Closed forms of the variance of one antithetic pair's gradient over a whole episode.

Setting: M segments, theta frozen, and losses whose odd part is linear in the perturbations: linear
losses, and quadratic ones too, because L+ - L- keeps odd terms alone. Write G_kj [P] for the
derivative of segment k's loss through the parameters in force during segment j <= k.

PES. The pair's contribution is sum_k xi_k sum_{j<=k} G_kj . eps_j with xi_k = eps_1 + ... + eps_k,
that is sum_ij eps_i (eps_j . W_ij) with W_ij = sum_{k >= max(i, j)} G_kj. The eps_i are independent
standard normal, so products of four of them pair up in three ways (Isserlis):

    E |g|^2 = P sum_ij |W_ij|^2  +  |sum_i W_ii|^2  +  sum_ij W_ij . W_ji

The middle term is the square of the mean, sum_i W_ii = the gradient. What is left is the variance.

ES-Single. All eps_i are the same, the contribution is eps (eps . gradient): (P + 1) |gradient|^2.

Losses that feel their own segment's parameters only (G_kj = c_k for k = j, else 0) give PES
sum_k (k P + 1) |c_k|^2. With all c_k equal that is |gradient|^2 (P (M + 1) / (2 M) + 1 / M): it
*falls* from P + 1 to P / 2. With independent c_k of mean zero, |gradient|^2 is about sum |c_k|^2,
and the variance *grows* as P (M + 1) / 2.
"""

from __future__ import annotations

import numpy as np


def es_single_variance(total: np.ndarray) -> float:
    """(P + 1) |g|^2 for the gradient ``total`` [P]."""
    return float((total.size + 1) * (total @ total))


def pes_variance_own(gradients: np.ndarray) -> float:
    """sum_k (k P + 1) |c_k|^2 for the segments' gradients c [M, P]."""
    k = np.arange(1, len(gradients) + 1)
    return float(((k * gradients.shape[1] + 1) * (gradients**2).sum(axis=1)).sum())


def pes_variance(G: np.ndarray) -> float:
    """The general form for G [M, M, P], segment by segment of origin."""
    M, _, P = G.shape
    later = np.cumsum(G[::-1], axis=0)[::-1]  # [k, j]: sum over k' >= k
    i = np.arange(M)
    W = later[np.maximum(i[:, None], i), i]
    return float(P * (W**2).sum() + (W * W.swapaxes(0, 1)).sum())
