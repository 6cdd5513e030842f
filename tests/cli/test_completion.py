"""What shells complete, asked of Bash itself, and of the others where they are installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pes_rl import cli
from pes_rl.config import ESTIMATOR_NAMES
from pes_rl.envs.registry import BRAX, OFFICIAL

# Calls the function that `complete` registered, as Bash does, for words parted by |.
ASK = """
source "$1"
[[ "$(complete -p pes-rl)" == *"-F _pes_rl "* ]] || exit 3
while IFS='|' read -ra COMP_WORDS; do
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  [ "${COMP_WORDS[COMP_CWORD]}" = _ ] && COMP_WORDS[COMP_CWORD]=""
  _pes_rl
  echo "${COMPREPLY[*]}"
done
"""
CASES = {
    "pes-rl|_": {*cli.COMMANDS, "--help", "--version"},
    "pes-rl|tr": {"train"},
    "pes-rl|train|--num-p": {"--num-pairs", "--num-processes"},
    "pes-rl|train|--no-st": {"--no-staggered"},
    "pes-rl|train|--env|_": {*OFFICIAL, *BRAX},
    "pes-rl|train|--env|=|Hop": {"Hopper"},
    "pes-rl|train|--env|Hopper|--estimator|=": set(ESTIMATOR_NAMES),
    "pes-rl|train|--seed|_": set(),
    "pes-rl|train|--env|Hopper|--re": {
        "--resume",
        "--reward-shift",
        "--retry-after",
        "--retry-below",
    },
    "pes-rl|train|--config|m": {"mine.yaml", "made"},
    "pes-rl|train|--resume|m": {"made"},
    "pes-rl|compare|--env|Hopper|Sw": {"Swimmer"},
    "pes-rl|evaluate|zoo/S": {"zoo/Swimmer"},
    "pes-rl|evaluate|--json|m": {"made"},
    "pes-rl|evaluate|--seed|3|zoo/S": {"zoo/Swimmer"},
    "pes-rl|reproduce|toy": {"toy-regression"},
    "pes-rl|completion|z": {"zsh"},
    "pes-rl|unknown|_": set(),
}


@pytest.fixture
def scripts(tmp_path, capsys):
    for shell in ("bash", "zsh", "fish"):
        assert cli.main(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "made").mkdir()
    return tmp_path


def test_bash_completes(scripts):
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", "./bash"],
        input="".join(f"{words}\n" for words in CASES),
        capture_output=True,
        text=True,
        cwd=scripts,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    found = dict(zip(CASES, (set(line.split()) for line in done.stdout.splitlines()), strict=True))
    assert found == CASES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_parse(shell, scripts):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n", scripts / shell], check=True, timeout=60)


def test_fish_is_told_every_flag_and_choice(scripts):
    lines = (scripts / "fish").read_text().splitlines()
    train = [line for line in lines if "__fish_seen_subcommand_from train" in line]
    [env] = [line for line in train if " -l env " in line]
    assert all(f" {name}" in env or f"'{name}" in env for name in OFFICIAL) and " -x " in env
    [estimator] = [line for line in train if " -l estimator " in line]
    assert f"-a '{' '.join(ESTIMATOR_NAMES)}'" in estimator
    assert len(lines) > 100 and all(line.count("'") % 2 == 0 for line in lines if "\\" not in line)


def test_an_unknown_shell(capsys):
    assert cli.main(["completion", "fsh"]) == 2
    assert "did you mean 'fish'?" in capsys.readouterr().err
