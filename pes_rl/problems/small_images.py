"""Images of a few pixels, on which a training costs next to nothing.

`drawn_digits` and `drawn_regression` are made up on the spot and need no package; `pooled_digits`
are real.
"""

from __future__ import annotations

import numpy as np

from pes_rl.problems.datasets import Dataset, Images, load

_FONT = """
111 010 111 111 101 111 111 111 111 111
101 110 001 001 101 100 100 001 101 101
101 010 111 111 111 111 111 001 111 111
101 010 100 001 001 001 101 001 101 001
111 111 111 111 001 111 111 001 111 111
"""
_ON, _OFF = 0.75, 0.25  # ink and paper


def drawn_digits(count: int = 1800, held_out: int = 600, noise: float = 0.15) -> Dataset:
    """Digits of 5 x 3 pixels, ink 0.75 and paper 0.25, with normal noise, clipped to 0..1.

    Several digits differ in one pixel only, so that some cannot be told apart.
    """
    rows = [row.split() for row in _FONT.split("\n") if row]
    ink = np.array([[c == "1" for row in rows for c in row[digit]] for digit in range(10)])
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=count).astype(np.int32)
    pixels = np.where(ink[labels], _ON, _OFF) + noise * rng.normal(size=(count, 15))
    every = Images(np.clip(pixels, 0, 1).astype(np.float32), labels)
    return _split("drawn digits, 5 x 3 pixels", every, held_out, (5, 3))


def pooled_digits(held_out: int = 597) -> Dataset:
    """scikit-learn's digits, as 4 x 4 pixels."""
    data = load("digits")
    images = np.concatenate([data.train.images, data.held_out.images])
    blocks = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    every = Images(blocks, np.concatenate([data.train.labels, data.held_out.labels]))
    return _split("scikit-learn's digits, 4 x 4 pixels", every, held_out, (4, 4))


def small_images(quick: bool) -> Dataset:
    """Drawn digits for a variant that has to run everywhere, real ones otherwise.

    Raises:
      UserError: scikit-learn is needed and not installed.
    """
    return drawn_digits() if quick else pooled_digits()


def drawn_regression(count: int = 440, inputs: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Standardised inputs [count, inputs] of unequal scales before, and noisy targets [count]."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, inputs)) @ rng.normal(size=(inputs, inputs))
    y = x @ rng.normal(size=inputs)
    y = y / y.std() + rng.normal(size=count)
    return (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()


def _split(name: str, every: Images, held_out: int, shape: tuple[int, int]) -> Dataset:
    kept = len(every.labels) - held_out
    return Dataset(name, every.first(kept), Images(*(part[kept:] for part in every)), shape, {})
