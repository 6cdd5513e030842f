"""What a comparison trains, which folders it accepts, and what it says when it cannot."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pes_rl import cli
from pes_rl.comparison import api
from pes_rl.comparison import store as store_module
from pes_rl.comparison.plan import Plan, make_plan
from pes_rl.comparison.store import SCORE_SEED, Store, marked_command, open_store, timing_key
from pes_rl.config import build_config, load_config, save_config
from pes_rl.errors import UserError
from pes_rl.storage.run_folder import write_provenance

ENVS = ["Swimmer", "Hopper"]


def small(**changes) -> Plan:
    return make_plan(["Swimmer"], ["es", "pes"], 2, 0, 1000, **changes)


def fake_run(store: Store, cell, env_steps: int = 1000, episodes: int = 100, **changes) -> Path:
    """A run folder as far as a comparison looks at it before training."""
    run = store.run(cell)
    run.mkdir(parents=True)
    save_config(replace(cell.config, **changes), run / "config.yaml")
    write_provenance(run, "pes-rl compare")
    store.score_file(cell).parent.mkdir(exist_ok=True)
    score = {"episodes": episodes, "seed": SCORE_SEED}
    found = {"env_steps": env_steps, "initial_return": 0.0, "score": score}
    store.score_file(cell).write_text(json.dumps(found))
    return run


def refused(command: str) -> str:
    """What ``pes-rl compare`` with these flags is refused with."""
    result = subprocess.run(
        [sys.executable, "-m", "pes_rl", "compare", *shlex.split(command)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("pes-rl: error: ") and result.stderr.count("\n") == 1
    return result.stderr


def test_presets_apply_to_each_environment_and_estimator():
    plan = make_plan(ENVS, ["es", "pes"], 2, 3, [1000, 2000], options={"eval_every": 100})
    assert [cell.name for cell in plan.cells[:3]] == [
        "Swimmer__es__seed3",
        "Swimmer__es__seed4",
        "Swimmer__pes__seed3",
    ]
    assert len(plan.cells) == 8
    assert plan.budgets == {"Swimmer": 1000, "Hopper": 2000}
    for cell in plan.cells:
        mine = cell.config
        given = {"env": mine.env, "estimator": mine.estimator, "seed": mine.seed}
        alone = build_config(given | {"num_env_steps": mine.num_env_steps, "eval_every": 100})
        free = {"num_threads": 1, "checkpoint_every": mine.num_env_steps // 10}
        assert mine == replace(alone, **free)


def test_budgets_are_the_presets_where_none_is_given():
    expected = {env: build_config({"env": env}).num_env_steps for env in ENVS}
    assert make_plan(ENVS, ["es"], 1).budgets == expected


def test_the_command_asks_for_the_same_plan(monkeypatch):
    options = {"eval_every": "100", "normalize_observations": False, "policy": "mlp"}
    plan = make_plan(ENVS, ["es", "pes"], 2, 3, ["1e3", 2000], 7, options | {"hidden_sizes": "8 8"})
    seen = {}
    monkeypatch.setattr(api, "compare", lambda **given: seen.update(given) or _stop())
    with pytest.raises(UserError, match="far enough"):
        arguments = shlex.split(plan.command("out"))
        cli.COMMANDS["compare"].run(vars(cli._parsers()[0].parse_args(arguments[1:])), "")
    assert seen.pop("out") == Path("out")
    names = ("env", "estimators", "seeds", "first_seed", "num_env_steps", "episodes")
    again = make_plan(*(seen.pop(name) for name in names), options=seen)
    assert again.cells == plan.cells and again.episodes == 7


def _stop():
    raise UserError("far enough")


def test_engines_of_jax_are_compared_too():
    plan = make_plan(["Swimmer"], ["es", "es-single"], 1, 0, 1000, options={"engine": "mjx"})
    es, single = plan.cells
    assert (es.config.engine, es.config.backend) == ("mjx", "jax")
    assert (single.config.segment_length or 0) > 0


def test_an_option_is_for_the_estimators_that_have_it():
    plan = make_plan(["Swimmer"], ["es", "pes"], 1, 0, 1000, options={"segment_length": 20})
    assert [cell.config.segment_length for cell in plan.cells] == [None, 20]
    with pytest.raises(UserError, match="segment_length 20 has no effect with estimator 'es'"):
        make_plan(["Swimmer"], ["es"], 1, 0, 1000, options={"segment_length": 20})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--env Swimer", "unknown environment 'Swimer'; did you mean 'Swimmer'?"),
        ("--env Swimmer Swimmer-v5", "env holds 'Swimmer' more than once"),
        ("--env Swimmer --estimators es-singl", "'es-singl'; did you mean 'es-single'?"),
        ("--env Swimmer --estimators es es", "estimators holds 'es' more than once"),
        ("--env Swimmer --seeds 0", "seeds must be at least 1, not 0"),
        ("--env Swimmer --seeds 1e9", "seeds must be at most 1000, not 1000000000"),
        ("--env Swimmer --seeds few", "seeds must be a whole number, not 'few'"),
        ("--env Swimmer --workers 0", "workers must be at least 1"),
        ("--env Swimmer --episodes 0", "episodes must be at least 1"),
        ("--env Swimmer Hopper --num-env-steps 1 2 3", "one for each of the 2 environments"),
        ("--env Swimmer --first-seed 4294967295", "lower --first-seed"),
        ("--env Swimmer --sigma 1", "unknown flag '--sigma'"),
        ("--env Swimmer --learning-rate 0", "learning_rate must be finite and positive"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(flags, said, tmp_path, capsys):
    assert cli.main(["compare", *flags.split(), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("pes-rl: error: ") and message.count("\n") == 1
    assert said in message
    assert not (tmp_path / "out").exists()


def test_the_python_function_refuses_what_it_sets_itself(tmp_path):
    for options, said in (
        ({"seed": 3}, "seed cannot be given"),
        ({"num_threads": 2}, "num_threads cannot be given"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
    ):
        with pytest.raises(UserError, match=said):
            api.compare("Swimmer", out=tmp_path / "out", **options)
    with pytest.raises(UserError, match="no environment"):
        api.compare([], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(f"--env Swimmer --out {tmp_path / 'file'}")
    assert "cannot write" in refused(f"--env Swimmer --out {tmp_path / 'file' / 'sub'}")
    assert "File name too long" in refused(f"--env Swimmer --out {tmp_path / ('x' * 300)}")
    assert "holds no comparison" in refused(f"--env Swimmer --out {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_comparisons_cannot_share_a_folder(tmp_path):
    with open_store(tmp_path / "out", small()):
        assert "another comparison is running" in refused(f"--env Swimmer --out {tmp_path / 'out'}")
    with open_store(tmp_path / "out", small()):
        pass


def test_finished_runs_are_known(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        done, again, more, gone = plan.cells
        fake_run(store, done)
        fake_run(store, again, episodes=10)
        fake_run(store, more, env_steps=999, num_env_steps=999)
        fake_run(store, gone)
        (store.run(gone) / "config.yaml").unlink()
        assert [store.is_scored(cell, 100) for cell in plan.cells] == [True, False, False, False]
        assert [store.score(cell) is None for cell in plan.cells] == [False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.5}, "was made with learning_rate 0.5, this comparison has "),
        ({"num_env_steps": 2000}, "has 2000 env steps, more than the 1000"),
        ({"eval_every": 7}, "was made with eval_every 7"),
    ],
)
def test_runs_with_other_options_are_never_mixed_in(changes, said, tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        fake_run(store, plan.cells[1], **changes)
    with pytest.raises(UserError, match=said) as caught, open_store(tmp_path, plan):
        pass
    assert "Swimmer__es__seed1" in str(caught.value) and "another --out" in str(caught.value)


def test_a_run_that_came_while_the_folder_was_opened_is_looked_at_too(tmp_path, monkeypatch):
    plan, lock = small(), store_module._lock

    def lock_after_another(out):
        fake_run(Store(out), plan.cells[0], learning_rate=0.5)
        return lock(out)

    monkeypatch.setattr(store_module, "_lock", lock_after_another)
    (tmp_path / "scores").mkdir()
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(UserError, match=r"learning_rate 0\.5"), open_store(tmp_path, plan):
        pass


def test_what_changes_no_result_may_differ(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        fake_run(store, plan.cells[0], num_threads=4, checkpoint_every=9, num_env_steps=500)
    with open_store(tmp_path, plan):
        pass


def test_options_younger_or_older_than_a_run(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        path = fake_run(store, plan.cells[0]) / "config.yaml"
    values = yaml.safe_load(path.read_text())
    later = ("max_grad_norm", "backend")  # at its default in the plan; of engines of later versions
    young = {name: value for name, value in values.items() if name not in later}
    path.write_text(yaml.safe_dump(young))
    with open_store(tmp_path, plan):
        pass
    for changed, said in (
        ({k: v for k, v in values.items() if k != "perturb_std"}, "made with perturb_std 0.03"),
        ({k: v for k, v in values.items() if k != "horizon"}, "made with no horizon"),
        ({**values, "magic": 3}, "made with magic 3, which this version does not have"),
        ({**values, "num_pairs": "many"}, "made with num_pairs many"),
    ):
        path.write_text(yaml.safe_dump(changed))
        with pytest.raises(UserError, match=said), open_store(tmp_path, plan):
            pass


def test_the_versions_of_every_session_are_known(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        run = fake_run(store, plan.cells[0])
        now = marked_command(plan, tmp_path).partition("  # ")[2]
        assert store.versions(plan.cells[0]) == now
        for line in ("pes_rl 0.0.9, mujoco 3.1", now, now):
            write_provenance(run, f"pes-rl compare  # {line}")
        assert store.versions(plan.cells[0]) == f"pes_rl 0.0.9, mujoco 3.1, then {now}"
        assert store.foreign_runs(small()) == []
        (tmp_path / "runs" / "Ant__es__seed0").mkdir()
        assert store.foreign_runs(small()) == ["Ant__es__seed0"]


def test_a_speed_is_of_one_machine_and_one_set_of_options(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        cell, other = plan.first_cells
        found = {"env_steps_per_second": 1.0, "of": timing_key(cell)}
        store.timing_file(cell).write_text(json.dumps(found))
        assert store.timing(cell) == found
        assert store.timing(other) is None
        assert store.timing(plan.cells[1]) == found  # another seed of the same
        assert store.timing(small(options={"num_pairs": 3}).cells[0]) is None
        found["of"]["machine"]["cpu_count"] = 99
        store.timing_file(cell).write_text(json.dumps(found))
        assert store.timing(cell) is None


def test_a_saved_configuration_is_that_of_the_plan(tmp_path):
    plan = small()
    with open_store(tmp_path, plan) as store:
        run = fake_run(store, plan.cells[0])
    assert load_config(run / "config.yaml") == plan.cells[0].config
