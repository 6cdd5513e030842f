"""Parts at the papers' sizes: they trace, their layouts fit, and their judgements are right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.estimators.core import ALL_HERE
from pes_rl.reproductions import classic_parts, learned_optimizer_paper, recurrent_paper
from pes_rl.reproductions.paper import Spread

PARTS = {
    **{part.name: part for part in learned_optimizer_paper.parts()},
    **{f"copy {part.name}": part for part in recurrent_paper.copy_parts()},
    **{f"text {part.name}": part for part in recurrent_paper.text_parts()},
}


@pytest.mark.parametrize(
    "name", ["pes-K4-T5000", "tuned-wide-T5000", "copy es-single", "text truncated-bptt"]
)
def test_a_part_keeps_its_state_s_shapes_and_says_where_pairs_are(name, monkeypatch):
    images = classic_parts.Data(jnp.zeros((20, 784)), jnp.zeros(20, jnp.int32))
    ids = jnp.zeros(2000, jnp.int32)
    monkeypatch.setattr(learned_optimizer_paper, "load", lambda name: images)
    monkeypatch.setattr(recurrent_paper, "load_text", lambda: recurrent_paper.Text(ids, ids))
    part = PARTS[name]
    made = part.make(Spread(ALL_HERE, None))
    before = jax.eval_shape(made.init, made.data, jax.random.key(0))
    after, sums = jax.eval_shape(made.update, made.data, before)
    looked, seen = jax.eval_shape(made.look, made.data, after)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(
        lambda x: (x.shape, x.dtype), looked
    )
    assert "steps" in sums and seen
    sizes = jax.tree.map(
        lambda here, below: {x.shape[0] for x in jax.tree.leaves(below)} if here else set(),
        made.layout,
        before,
    )
    for size in jax.tree.leaves(sizes, is_leaf=lambda x: isinstance(x, set)):
        assert size <= {part.pairs}


def test_equal_inner_steps_for_all_online_methods():
    steps = {part.total_steps for name, part in PARTS.items() if "-K" in name}
    assert len(steps) == 1


def test_a_tuned_optimiser_is_chosen_on_other_runs_than_it_is_reported_on():
    runs = classic_parts.RUNS
    last = np.array([[3.0] * runs + [0.0] * runs, [1.0] * runs + [5.0] * runs])
    rows = [{"update": u, "sgd": [value]} for u, value in ((1, 2 * last), (2, last))]
    found = classic_parts.best(rows, {"sgd": np.array([0.1, 0.2])})["sgd"]
    assert found == {"rate": 0.2, "mean": 7.5, "final": 5.0, "curve": [10.0, 5.0]}
