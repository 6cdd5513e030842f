"""docs/usage.md names what there is: metrics, files, options, extras, and the Python API."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pes_rl
from pes_rl.config import build_config
from pes_rl.particles.lanes import Scores
from pes_rl.storage.metrics import read_metrics
from pes_rl.training.lanes import lane_metrics
from tests.tools.run_tools import train
from tests.tools.toy_environment import configure

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
INTERNAL = {"command", "processes"}  # parameters that the command line alone passes


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(title: str) -> list[str]:
    """What the rows of the section's table name in backticks."""
    return re.findall(r"^\| `(.+?)` \|", section(title), re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two updates of 40 env steps; Swimmer never ends early."""
    path = tmp_path_factory.mktemp("runs") / "swimmer"
    flags = (
        "--env Swimmer --num-pairs 2 --segment-length 10 --eval-episodes 1 --num-threads 1 "
        "--num-env-steps 80 --log-every 1 --stop-at -1e6 --retry-after 80 --retry-below -1e6"
    )
    assert train(flags, path) == 0
    return path


def test_every_metrics_key_is_explained(run):
    first, last = read_metrics(run)
    named = first_column("Metrics")
    assert len(named) == len(set(named))
    lanes = Scores(np.int32(1), np.ones(2), np.ones(2, np.int32), np.ones(2, np.int32), np.ones(2))
    of_lanes = lane_metrics(configure(engine="mjx", eval_lanes=1), lanes, length=0.5).keys()
    assert set(named) == last.keys() | of_lanes
    assert {key for key in named if not key.startswith("eval")} == first.keys()


def test_every_file_of_a_run_is_explained(run):
    written = {path for path in run.iterdir() if path.name != ".lock"}
    explained = {path for name in first_column("The run folder") for path in run.glob(name)}
    assert {run / path.relative_to(run).parts[0] for path in explained} == written
    assert all(list(run.glob(name)) for name in first_column("The run folder"))


def test_the_config_file_loads(tmp_path):
    [sample] = re.findall(r"```yaml\n(.+?)```", section("The config file"), re.DOTALL)
    path = tmp_path / "sample.yaml"
    path.write_text(sample)
    config = build_config({}, path)
    assert (config.env, config.estimator, config.num_pairs) == ("Hopper", "es-single", 16)
    assert (config.segment_length, config.learning_rate, config.eval_every) == (100, 3e-4, 20_000)
    config = build_config({"estimator": "pes"}, path)
    assert (config.num_pairs, config.segment_length, config.learning_rate) == (16, 50, 1e-4)
    assert build_config({"estimator": "es"}, path).segment_length is None
    assert build_config({"num_pairs": "8"}, path).num_pairs == 8


def test_every_extra_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(first_column("Install")) == set(project["optional-dependencies"])


def test_every_public_name_is_explained_with_its_signature():
    entries = [entry.removeprefix("pes_rl.") for entry in first_column("Python API")]
    assert {entry.partition("(")[0] for entry in entries} == set(pes_rl.__all__)
    example = section("Python API").split("```")[1]
    for entry in entries:
        name = entry.partition("(")[0]
        assert f"pes_rl.{name}" in example
        value = getattr(pes_rl, name)
        assert entry == name + (_signature(value) if inspect.isfunction(value) else "")


def _signature(function) -> str:
    """As the table has it: without annotations and what the command line alone passes."""
    signature = inspect.signature(function)
    kept = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name not in INTERNAL
    ]
    bare = signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    return str(bare).replace("'", '"')
