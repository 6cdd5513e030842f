"""The policies that ship with the package are found by name and score as their cards say."""

from __future__ import annotations

import json
import shutil

import pytest

import pes_rl
from benchmarks import cards
from pes_rl import cli, zoo
from pes_rl.config import Config, build_config, load_config
from pes_rl.errors import UserError
from pes_rl.evaluation.official import play_official
from pes_rl.storage.policy import load_policy
from tests.tools.run_tools import SMALL, train

TRAIN = "pes_rl.runs.run.train_from_config"


@pytest.mark.parametrize("name", zoo.names())
def test_shipped_policies_score_as_their_cards_say(name):
    assert cards.check(name, episodes=3) is None
    card = zoo.card(name)
    assert card["score"]["episodes"] >= 100
    assert len(card["episode_returns"]) == card["score"]["episodes"]
    assert (zoo.find(name) / "CARD.md").read_text() == cards.describe(card)
    assert "--run-dir" not in card["command"]


FLAGS = f"--env InvertedPendulum --estimator pes --seed 3 {SMALL} --num-env-steps 400"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "pendulum"
    assert train(FLAGS, path) == 0
    return path


@pytest.fixture
def folder(run, tmp_path, monkeypatch):
    """A zoo with one policy."""
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    return cards.add(run, episodes=6)


def test_a_policy_that_cannot_be_scored_is_not_put_into_the_zoo(run, tmp_path, monkeypatch):
    def refuse(*_):
        raise UserError("no such environment")

    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "policies")
    monkeypatch.setattr(cards, "play_official", refuse)
    with pytest.raises(UserError, match="no such environment"):
        cards.add(run, episodes=6)
    assert not (tmp_path / "policies").exists()


def test_a_policy_is_found_by_name(folder, run, tmp_path):
    assert zoo.names() == ["InvertedPendulum"]
    assert zoo.find("InvertedPendulum") == folder
    names = ["CARD.md", "card.json", "policy.json", "policy.safetensors"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert load_policy("zoo/InvertedPendulum").path == folder
    # What is really there wins.
    shutil.copytree(run / "policy" / "last", tmp_path / "zoo" / "InvertedPendulum")
    assert load_policy("zoo/InvertedPendulum").path == tmp_path / "zoo" / "InvertedPendulum"
    (tmp_path / "zoo" / "InvertedPendulum" / "policy.safetensors").unlink()
    with pytest.raises(UserError, match=r"no policy\.safetensors in .*zoo/InvertedPendulum"):
        load_policy("zoo/InvertedPendulum")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("zoo/InvertedPendulm", "'zoo/InvertedPendulm'; did you mean 'zoo/InvertedPendulum'?"),
        ("zoo/InvertedPendulum-v5", "did you mean 'zoo/InvertedPendulum'?"),
        ("zoo/invertedpendulum/", "did you mean 'zoo/InvertedPendulum'?"),
        ("zoo/Go", "'zoo/Go'; there is zoo/InvertedPendulum"),
        ("zoo", "there is zoo/InvertedPendulum"),
        ("InvertedPendulum", "does not exist; did you mean 'zoo/InvertedPendulum'?"),
    ],
)
def test_a_wrong_name_is_answered_by_the_nearest(folder, capsys, path, words):
    assert cli.main(["evaluate", path]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


def test_an_empty_zoo(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "nowhere")
    assert zoo.names() == []
    with pytest.raises(UserError, match="has no policy 'zoo/Ant'; there is none yet"):
        load_policy("zoo/Ant")


def test_the_card_says_how_it_was_made_and_scored(folder, run, capsys, monkeypatch):
    card = zoo.card("InvertedPendulum")
    config = load_config(run / "config.yaml")
    assert Config(**{**card["config"], "hidden_sizes": ()}) == config
    assert card["env_steps"] == load_policy(run).scores["env_steps"]
    assert (card["environment"], card["num_parameters"]) == ("InvertedPendulum-v5", 4)
    returns = play_official(load_policy(run), 6, cards.SEED).returns
    assert card["episode_returns"] == returns.tolist()

    # The command line of the card, typed again, trains the same configuration.
    asked = []
    monkeypatch.setattr(TRAIN, lambda config, *_: asked.append(config))
    assert cli.main(card["command"].split()[1:]) == 0
    assert asked == [build_config({**card["config"], "num_threads": None})]

    arguments = ["evaluate", "zoo/InvertedPendulum", "--episodes", "6", "--seed", str(cards.SEED)]
    assert cli.main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episode_return_mean"] == card["score"]["episode_return_mean"]
    assert pes_rl.evaluate("zoo/InvertedPendulum", 6, cards.SEED) == result
    text = (folder / "CARD.md").read_text()
    for words in (card["command"], f"{result['episode_return_mean']:.1f}", "1000 to 1005"):
        assert words in text


@pytest.mark.parametrize(
    "options",
    [
        {"env": "Hopper", "estimator": "gpes", "segment_length": 20, "noise_period": 60},
        {"env": "HalfCheetah", "policy": "mlp", "hidden_sizes": (32, 16), "staggered": False},
        {"env": "Swimmer", "estimator": "es", "normalize_observations": False},
        {"env": "HalfCheetah", "num_top_pairs": None, "reward_shift": -1e-3, "seed": 7},
        {"env": "CartPole-v1", "momentum": 0.5, "max_grad_norm": 2.0},
    ],
)
def test_the_command_of_a_configuration_trains_it(options, monkeypatch):
    config, asked = build_config(options), []
    monkeypatch.setattr(TRAIN, lambda config, *_: asked.append(config))
    assert cli.main(cards.command(config).split()[1:]) == 0
    assert asked == [config]


def edit(folder, change) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def off_by_one_percent(card):
    card["episode_returns"][1] *= 1.01


def test_a_card_that_is_wrong_is_found_out(folder, run):
    assert cards.check("InvertedPendulum") is None
    edit(folder, off_by_one_percent)
    assert cards.check("InvertedPendulum", 1) is None
    assert "the card has" in str(cards.check("InvertedPendulum", 2))
    # On other versions or another processor only the mean can be compared.
    edit(folder, lambda card: card["score"]["versions"].update(mujoco="3.1.0"))
    assert cards.check("InvertedPendulum") is None
    edit(folder, lambda card: card["score"].update(episode_return_mean=500.0))
    assert "mean return" in str(cards.check("InvertedPendulum"))
    shutil.copy(run / "config.yaml", folder / "policy.safetensors")
    assert "another policy file" in str(cards.check("InvertedPendulum"))
