"""Sums of what particles gained."""

from __future__ import annotations

import numpy as np

from pes_rl.particles.crew import add_in_order


def test_sums_do_not_depend_on_how_many_rows_there_are():
    terms = np.random.default_rng(0).normal(size=(26, 3, 1))
    start = np.zeros((3, 1))
    alone = [add_in_order(start[:1], terms[:, i : i + 1]) for i in range(3)]
    together = add_in_order(start, terms)
    np.testing.assert_array_equal(np.concatenate(alone), together)
    in_parts = add_in_order(add_in_order(start, terms[:7]), terms[7:])
    np.testing.assert_array_equal(in_parts, together)
