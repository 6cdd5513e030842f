"""The table of parts on a GPU, whatever of them has come to an end, and Brax's view of a task."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gpu_ppo, gpu_tasks
from pes_rl.config import build_config
from pes_rl.policies.action import ActionSpec
from tests.tools.toy_environment import point_mass


def test_the_table_has_a_line_for_every_part_that_was_begun(tmp_path):
    done = gpu_tasks.Record(str(tmp_path), "Ant", 1, {})
    done.began()
    done.scored(2000, 3100.0, reached=False)
    done.row["seconds_to_threshold"], done.row["first_update_seconds"] = 90.0, 60.5
    done.scored(4000, 3600.0, reached=True)
    done.save(updates=40, **{"return": 3580.4, "interval": [3500.0, 3660.0]})
    cut = gpu_tasks.Record(str(tmp_path), "Ant-ppo", 0, {})
    cut.scored(1000, -5.0, reached=False)
    never = {"part": "Hopper", "seed": 0, "evaluations": [], "problem": "no time left"}
    (tmp_path / "tasks" / "Hopper-0.json").write_text(json.dumps(never))
    *_, hopper, ant, ppo = gpu_tasks.table(tmp_path).splitlines()
    assert hopper.startswith("| Hopper | 0 | no time left |")
    assert ant == "| Ant | 1 | 90.0 | 29.5 | 4,000 | 40 | 3600 | 3580 (3500 to 3660) |"
    assert ppo.startswith("| Ant-ppo | 0 | not in ") and "1,000" in ppo and "not played" in ppo
    assert {line.count("|") for line in (hopper, ant, ppo)} == {9}


def test_a_part_is_over_in_time_whatever_its_first_call_compiled(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(gpu_tasks.time, "perf_counter", lambda: now[0])
    record, over = gpu_tasks.Record(str(tmp_path), "Ant", 0, {}), []
    for now[0] in (100.0, 130.0, 150.0, 160.0):  # the first call, then one of 30 s, 20 s, 10 s
        record.began()
        over.append(record.is_over(170.5))
    assert over == [False, False, False, False]
    now[0] = 170.0  # another ten seconds would be too many
    assert record.is_over(170.5) and record.row["first_update_seconds"] == 100.0
    reached = gpu_tasks.Record(str(tmp_path), "Ant", 1, {})
    reached.scored(1, 3500.0, reached=True)
    assert reached.is_over(1e9)


def test_a_dry_run_says_so_and_leaves_the_rows_of_real_ones_alone(tmp_path):
    for dry in (False, True):
        gpu_tasks.Record(str(tmp_path), "Ant", 0, {}, dry).scored(1000, 5.0, reached=False)
    *_, real, dry = gpu_tasks.table(tmp_path).splitlines()
    assert real.startswith("| Ant | 0 |") and dry.startswith("| Ant (dry run) | 0 |")


def test_every_part_has_settings_that_go_together():
    build_config({"env": "HalfCheetah", **gpu_tasks.OURS})
    for task in gpu_tasks.TASKS:
        build_config({"env": task, **gpu_tasks.OURS, **gpu_tasks.TINY})
        assert build_config({"env": task}).environment.threshold is not None
        batch, envs = gpu_ppo.PPO[task]["batch_size"], gpu_ppo.PPO[task]["num_envs"]
        assert batch * gpu_ppo.PPO[task]["num_minibatches"] % envs == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Brax imports
def test_brax_sees_the_task_with_its_actions_scaled():
    pytest.importorskip("brax")
    own = point_mass()._replace(action=ActionSpec("box", 1, (-0.4,), (0.4,)))
    task = gpu_ppo.brax_environment(own)
    state = task.reset(jax.random.PRNGKey(3))
    after = task.step(state, jnp.array([5.0]))  # beyond what a policy may ask for
    _, want = own.step(own.reset(jax.random.key(3))[0], jnp.array([0.4]))
    np.testing.assert_allclose(after.obs, want.observation, rtol=1e-6)
    assert float(after.reward) == pytest.approx(float(want.reward)) and float(after.done) == 0
