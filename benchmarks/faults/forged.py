"""Configurations, policies and command lines made up by Hypothesis: each works, or is one line."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.faults.subjects import subject as make_subject
from benchmarks.faults.tally import REFUSED, SILENT, SURVIVED, TRACEBACK, Tally
from pes_rl import cli
from pes_rl.config import OPTIONS, build_config, load_config, save_config
from pes_rl.errors import UserError
from pes_rl.storage.policy import POLICY_FILE, _digest, load_policy

_LONGEST = 400  # characters of a message
_SOUND: dict[str, Any] = {"env": "InvertedPendulum", "policy": "mlp", "estimator": "gpes"}

_numbers = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [2**31, 2**63, -(2**63), 10**400, 1e308, 5e-324, "1e18", "1e400", "1_0", "0x1"]
    ),
)
_words = st.one_of(
    st.text(max_size=12),
    st.text(min_size=1000, max_size=1500),
    st.sampled_from(
        ["", "none", "NaN", "-inf", "\x00", "\ud800", "a/../b", "{}", "[", "*a", "!!x"]
    ),
)
_leaves = st.one_of(st.none(), st.booleans(), _numbers, _words)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=6,
)


def run(tally: Tally, quick: bool, root: Path) -> None:
    """Try every kind of input, some hundreds of each."""
    number = 20 if quick else 600
    where = root / "forged"
    where.mkdir()
    policy = make_subject("mujoco", root).whole / "policy" / "last" / POLICY_FILE
    fields = st.dictionaries(st.sampled_from(sorted(OPTIONS)), _field_values(), max_size=4)
    _try(tally, number, "config fields", fields, lambda x: _config(where, x))
    texts = st.one_of(_words, _values.map(_as_yaml), fields.map(_as_yaml), st.binary(max_size=60))
    _try(tally, number, "config text", texts, lambda x: _text(where, x))
    _try(tally, number, "policy", _forgeries(policy), lambda x: _policy(where, x))
    _try(tally, number, "command line", _command_lines(), lambda x: _command(where, x))


def _field_values() -> st.SearchStrategy[Any]:
    choices = [name for o in OPTIONS.values() for name in _names(o.kind)]
    return st.one_of(_values, st.sampled_from(choices), st.lists(_numbers, max_size=3))


def _names(kind: Any) -> list[str]:
    inner = [name for part in get_args(kind) for name in _names(part)]
    return inner + [name for name in get_args(kind) if isinstance(name, str)]


def _as_yaml(value: Any) -> str:
    with contextlib.suppress(Exception):
        return yaml.safe_dump(value)
    return repr(value)


def _try(
    tally: Tally,
    number: int,
    what: str,
    strategy: st.SearchStrategy[Any],
    use: Callable[[Any], None],
) -> None:
    """Give ``number`` inputs to ``use``, which returns, raises UserError, or is at fault."""

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(given_input: Any) -> None:
        case = f"{what} {given_input!r}"[:1500]
        try:
            use(given_input)
        except UserError as error:
            text = str(error)
            if len(text) >= _LONGEST or "\n" in text.strip():
                tally.add(TRACEBACK, case, f"{len(text)} characters: {text}")
            else:
                tally.add(REFUSED, case)
        except AssertionError as wrong:
            tally.add(SILENT, case, repr(wrong))
        except BaseException as error:
            tally.add(TRACEBACK, case, repr(error))
        else:
            tally.add(SURVIVED, case)

    each()


def _config(where: Path, fields: dict[str, Any]) -> None:
    """Build it, and read back what was written of it."""
    config = build_config(_SOUND | fields)
    save_config(config, where / "config.yaml")
    assert load_config(where / "config.yaml") == config
    assert json.loads(json.dumps(asdict(config)))


def _text(where: Path, text: str | bytes) -> None:
    file = where / "some.yaml"
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    file.write_bytes(data)
    build_config({"env": "Swimmer"}, file)


def _command_lines() -> st.SearchStrategy[list[str]]:
    flags = [f"--{name.replace('_', '-')}" for name in OPTIONS]
    flags += ["--resume", "--run-dir", "--config", "--out", "--episodes", "--seeds", "--help-me"]
    word = st.one_of(_words, _numbers.map(str), st.sampled_from(["Hopper", "pes", "zoo/Hopper"]))
    first = st.sampled_from([*cli.COMMANDS, "trian", ""])
    rest = st.lists(st.one_of(st.sampled_from(flags), word), max_size=7)
    return st.tuples(first, rest).map(lambda pair: [pair[0], *pair[1]])


def _command(where: Path, words: list[str]) -> None:
    """Read it; what it would do is not done."""
    said = io.StringIO()
    nothing = {name: mock.Mock() for name in ("train_from_config", "resume")}
    with contextlib.ExitStack() as patched:
        patched.enter_context(mock.patch.multiple("pes_rl.runs.run", **nothing))
        for module, name in (("comparison.api", "compare"), ("evaluation", "evaluate")):
            if f"pes_rl.{module}" in sys.modules:
                patched.enter_context(mock.patch(f"pes_rl.{module}.{name}"))
        patched.enter_context(contextlib.redirect_stderr(said))
        patched.enter_context(contextlib.redirect_stdout(io.StringIO()))
        patched.enter_context(contextlib.chdir(where))
        command = (
            words if words[0] in ("train", "trian", "") else [words[0], "/missing", *words[1:]]
        )
        code = cli.main(command)
    if code == 2:
        raise UserError(said.getvalue().removeprefix("pes-rl: error: "))
    assert code == 0, (code, said.getvalue())


def _forgeries(file: Path) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Descriptions with some values replaced, with arrays that fit or do not."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    arrays = load_file(file)
    with safe_open(file, framework="np") as opened:
        about = json.loads(opened.metadata()["description"])
    paths = list(_paths(about, ()))
    edits = st.lists(st.tuples(st.sampled_from(paths), _values), max_size=3)
    dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.int8, np.float16])
    special = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 0, -1])
    shape = st.lists(st.integers(0, 5), max_size=2).map(tuple)
    array = st.builds(lambda s, x, d: _full(s, x, d), shape, special, dtypes)
    swapped = st.dictionaries(st.sampled_from([*arrays, "extra"]), array, max_size=1)
    return st.builds(lambda e, s: (_edited(about, e), arrays | s), edits, swapped)


def _full(shape: tuple[int, ...], value: float, dtype: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.full(
            shape, np.nan_to_num(value) if np.dtype(dtype).kind == "i" else value
        ).astype(dtype)


def _paths(value: Any, path: tuple) -> Any:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))


def _edited(about: Any, edits: list[tuple[tuple, Any]]) -> str:
    whole = {"": json.loads(json.dumps(about))}
    for path, value in edits:
        node: Any = whole
        for key in ("", *path)[:-1]:
            node = node[key] if isinstance(node, dict) and key in node else {}
        if isinstance(node, dict):
            node[("", *path)[-1]] = value
    return json.dumps(whole[""])


def _policy(where: Path, forged: tuple[str, dict[str, np.ndarray]]) -> None:
    """A file with the right hash; it acts, with finite numbers within its bounds."""
    from safetensors.numpy import save

    text, arrays = forged
    header = {"description": text, "sha256": _digest(text, arrays)}
    (where / POLICY_FILE).write_bytes(save(arrays, metadata=header))
    policy = load_policy(where / POLICY_FILE)
    size = policy.policy.observation_size
    for observation in (np.zeros(size), np.full(size, 1e3), np.full(size, -1e3)):
        action, _ = policy.predict(observation)
        assert np.isfinite(action).all(), action
