"""``pes-rl completion``: completes commands, flags and their values in a shell.

The scripts are made from the parsers. Zsh runs the one for Bash, by its own emulation.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pes_rl import zoo
from pes_rl.config import ESTIMATOR_NAMES
from pes_rl.envs.registry import BRAX, OFFICIAL
from pes_rl.errors import UserError, suggest

Parsers = Callable[[], Mapping[str, argparse.ArgumentParser]]

_SHELLS = ("bash", "zsh", "fish")
_EPILOG = """\
bash:  eval "$(pes-rl completion bash)"      in ~/.bashrc
zsh:   eval "$(pes-rl completion zsh)"       in ~/.zshrc, below compinit
fish:  pes-rl completion fish | source       in ~/.config/fish/config.fish"""

_BASH = """\
_pes_rl_values() {
  case "$1" in
@VALUES@
  esac
}

_pes_rl() {
  local command="${COMP_WORDS[1]}" cur="${COMP_WORDS[COMP_CWORD]}" at=$((COMP_CWORD - 1))
  local flag known=""
  COMPREPLY=()
  [ "$cur" = "=" ] && cur=""
  [ "$at" -gt 1 ] && [ "${COMP_WORDS[at]}" = "=" ] && at=$((at - 1))
  flag="${COMP_WORDS[at]}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    known="@COMMANDS@"
  elif [[ "$cur" == -* ]]; then
    known="$(_pes_rl_values "$command -")"
  else
    # The nearest flag, if it takes several values; else the one right before.
    while [ "$at" -gt 2 ] && [[ "${COMP_WORDS[at]}" != --* ]]; do at=$((at - 1)); done
    [[ " $(_pes_rl_values "$command +") " == *" ${COMP_WORDS[at]} "* ]] && flag="${COMP_WORDS[at]}"
    [[ "$flag" == --* ]] && known="$(_pes_rl_values "$command $flag")"
    [ -n "$known" ] || known="$(_pes_rl_values "$command ")"
    [ -n "$known" ] || known="$(_pes_rl_values "$command -")"
  fi
  case "$known" in
    @any) return ;;
    @files) COMPREPLY=($(compgen -f -- "$cur")) ;;
    @folders*) COMPREPLY=($(compgen -d -- "$cur") $(compgen -W "${known#@folders}" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$known" -- "$cur")) ;;
  esac
  case "$known" in @*) compopt -o filenames 2>/dev/null ;; esac
}
complete -F _pes_rl pes-rl
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


class Argument(NamedTuple):
    """One flag, or an argument without one.

    Attributes:
      flags: its names, none for an argument by its place.
      help: what it is, in one line.
      values: what it may be, ``("@files",)`` or ``("@folders", ...)`` for what is on disk,
        ``("@any",)`` where there is no telling; none where it takes no value.
      many: whether it takes several of them.
    """

    flags: tuple[str, ...]
    help: str
    values: tuple[str, ...]
    many: bool


class Completion:
    """The command: a script for one shell on standard output."""

    HELP: str = "print what completes commands, flags and their values in a shell"

    def __init__(self, parsers: Parsers) -> None:
        self._parsers = parsers

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the one argument, the shell."""
        parser.epilog = _EPILOG
        parser.add_argument("shell", metavar="{" + ",".join(_SHELLS) + "}", help="whose script")

    def run(self, options: dict[str, Any], command: str) -> None:
        """Print the script."""
        del command
        print(script(options["shell"], self._parsers()), end="")


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """What completes the commands of ``parsers`` in ``shell``; UserError if that is unknown."""
    if shell not in _SHELLS:
        hint = suggest(shell, _SHELLS) or f"; choose from {', '.join(_SHELLS)}"
        raise UserError(f"unknown shell {shell!r}{hint}")
    if shell == "fish":
        return "".join(f"{line}\n" for line in _fish(parsers))
    bash = _BASH.replace("@VALUES@", "\n".join(_cases(parsers)))
    bash = bash.replace("@COMMANDS@", " ".join([*parsers, "--help", "--version"]))
    return bash if shell == "bash" else _ZSH + bash


def _cases(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    """A line of a ``case`` for each flag: what may follow, by command and flag."""
    for command, parser in parsers.items():
        arguments = list(_arguments(parser))
        flags = [flag for argument in arguments for flag in argument.flags]
        yield _case(command, "-", flags)
        yield _case(command, "+", [flag for one in arguments if one.many for flag in one.flags])
        for flags, _, values, _ in arguments:
            for flag in flags or ("",):
                if values:
                    yield _case(command, flag, values)


def _case(command: str, flag: str, words: Sequence[str]) -> str:
    return f"    {shlex.quote(f'{command} {flag}')}) echo {shlex.quote(' '.join(words))} ;;"


def _fish(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield "complete -c pes-rl -f"
    for command, parser in parsers.items():
        about = _quoted(parser.description or "")
        yield f"complete -c pes-rl -n __fish_use_subcommand -a {command} -d {about}"
        seen = f"complete -c pes-rl -n '__fish_seen_subcommand_from {command}'"
        for flags, text, values, _ in _arguments(parser):
            words = [word for word in values if not word.startswith("@")]
            if "@folders" in values:
                words.insert(0, "(__fish_complete_directories)")
            offered = f" -a {_quoted(' '.join(words))}" if words else ""
            if values and flags:
                offered += " -r -F" if "@files" in values else " -x"
            for flag in flags or ("",):
                name = f" -l {flag[2:]}" if flag else ""
                yield f"{seen}{name}{offered} -d {_quoted(text)}"


def _quoted(text: str) -> str:
    """For fish, which knows backslashes inside of single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for action in parser._actions:
        flags = tuple(flag for flag in action.option_strings if flag.startswith("--"))
        text = (action.help or "").replace("%%", "%")
        many = bool(flags) and action.nargs == "+"
        yield Argument(flags, text, () if action.nargs == 0 else _values(action), many)


def _values(action: argparse.Action) -> tuple[str, ...]:
    metavar = str(action.metavar)
    if metavar.startswith("{"):
        return tuple(metavar.strip("{}").split(","))
    if metavar == "RUN" or action.type is Path:
        trained = [f"zoo/{name}" for name in zoo.names()] if not action.option_strings else []
        return ("@files",) if metavar == "FILE" else ("@folders", *trained)
    from pes_rl.reproductions.catalog import NAMES  # NumPy

    named = {"env": (*OFFICIAL, *BRAX), "estimators": ESTIMATOR_NAMES, "name": NAMES}
    return tuple(named.get(action.dest, ("@any",)))
