"""The copy task and its curriculum, the character model, and the texts."""

from __future__ import annotations

import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pes_rl.errors import UserError
from pes_rl.problems import check_problem
from pes_rl.problems.char_lstm import CharLSTM
from pes_rl.problems.character_model import CharacterModel
from pes_rl.problems.copy_task import CopyTask
from pes_rl.problems.text import Corpus, has_penn_treebank, penn_treebank, python_manual_split
from pes_rl.reproductions import copy_task as reproduction
from pes_rl.reproductions import curriculum

HIDDEN = 3


def output_bias(task: CopyTask, bias: list[float]) -> jax.Array:
    """A network that ignores what it reads."""
    return jnp.zeros(task.num_params).at[-4:].set(jnp.array(bias))


def roll(task: CopyTask, theta: jax.Array, seed: int, steps: int):
    """Start, and the carries and outcomes of all steps."""
    key = jax.random.key(seed)
    start = task.init(key, theta)

    def advance(carry, _):
        carry, out = task.step(key, theta, carry)
        return carry, (carry, out)

    return start, *jax.lax.scan(advance, start, length=steps)[1]


def test_copy_task_reads_bits_then_separator_then_blanks():
    task = CopyTask(3, longest=5, hidden=HIDDEN)
    theta = task.initial_theta(jax.random.key(1))
    check_problem(task, theta)
    start, carries, out = roll(task, theta, 0, 6)
    assert start.length == 3
    np.testing.assert_array_equal(out.done, [False] * 5 + [True])
    bits = start.bits[:3]
    symbols = jnp.concatenate([bits, jnp.array([2, 3, 3]), bits])  # one more: every step has a next
    reader = CharLSTM(symbols, 4, HIDDEN)
    memory = reader.init(None, theta)
    for t in range(6):
        memory, _ = reader.step(None, theta, memory)
        np.testing.assert_allclose(carries.memory.hidden[t], memory.hidden, rtol=1e-5, atol=1e-7)


def test_copy_task_asks_for_the_bits_in_their_order():
    task = CopyTask(5, longest=5, hidden=HIDDEN)
    start, _, out = roll(task, output_bias(task, [0, 2.0, -60, -60]), 3, 10)
    right = np.where(np.asarray(start.bits) == 1, 2.0, 0.0)
    assert 0 < start.bits.sum() < 5
    np.testing.assert_array_equal(out.loss[:5], 0)
    np.testing.assert_allclose(out.loss[5:], np.log(1 + np.exp(2.0)) - right, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 4])
def test_guessing_costs_one_bit_per_character(length):
    task = CopyTask(length, longest=4, spread=3, hidden=HIDDEN)
    theta = output_bias(task, [0, 0, -60, -60])
    assert task.bits_per_character(jax.random.key(0), theta, 4) == pytest.approx(1, rel=1e-5)


def test_lengths_are_spread_below_the_curriculum():
    task = CopyTask(3, longest=5, spread=5, hidden=HIDDEN)
    theta = jnp.zeros(task.num_params)
    starts = jax.vmap(task.init, (0, None))(jax.random.split(jax.random.key(0), 300), theta)
    counts = np.bincount(starts.length, minlength=6)
    assert counts[0] == counts[4] == counts[5] == 0
    assert counts[1:4].min() > 60  # 100 expected, standard deviation 8
    assert 0.45 < starts.bits.mean() < 0.55


@pytest.mark.parametrize(("solved", "lengths"), [(1e9, [2, 3, 3]), (-1.0, [1, 1, 1])])
def test_the_curriculum_grows_when_solved_and_stops_at_the_longest(solved, lengths, monkeypatch):
    for name, value in {"SOLVED": solved, "SEQUENCES": 2}.items():
        monkeypatch.setattr(curriculum, name, value)
    monkeypatch.setattr(reproduction, "task", lambda length: CopyTask(length, 3, hidden=HIDDEN))
    lesson = reproduction.Lesson(jnp.ones(2, jnp.int32), jax.random.split(jax.random.key(0), 2))
    theta = jax.random.normal(jax.random.key(1), (2, CopyTask(1, 3, hidden=HIDDEN).num_params))
    # Compiled anew, since what was patched is part of the program.
    look = jax.jit(lambda theta, lesson: reproduction.look.__wrapped__(theta, lesson))
    found = []
    for _ in range(3):
        lesson, seen = look(theta, lesson)
        found.append(seen.length)
    np.testing.assert_array_equal(np.stack(found, axis=1), [lengths] * 2)


def test_held_values_are_the_last_reached():
    held = reproduction._held(np.array([0, 5, 10, 99]), np.array([5, 20]), np.array([1, 2]))
    np.testing.assert_array_equal(held, [0, 1, 1, 2])


def test_character_model_starts_anywhere_and_reads_on():
    ids = jax.random.randint(jax.random.key(0), (41,), 0, 6)
    model = CharacterModel(ids, vocabulary=6, hidden=HIDDEN, horizon=30)
    theta = model.initial_theta(jax.random.key(1))
    check_problem(model, theta)
    starts = jax.vmap(model.init, (0, None))(jax.random.split(jax.random.key(2), 400), theta)
    assert set(np.unique(starts.t)) == set(range(11))  # the last one reads the last character
    start = model.init(jax.random.key(5), theta)
    assert start.t > 0 and not start.hidden.any()
    carry, out = model.step(None, theta, start)
    one, expected = CharLSTM(ids[start.t :], 6, HIDDEN).step(
        None, theta, start._replace(t=jnp.zeros_like(start.t))
    )
    np.testing.assert_allclose(out.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(carry.hidden, one.hidden, rtol=1e-6)


def test_bits_per_character_of_a_character_model():
    ids = jax.random.randint(jax.random.key(0), (41,), 0, 8)
    model = CharacterModel(ids, vocabulary=8, hidden=HIDDEN, horizon=5)
    blank = jnp.zeros(model.num_params)
    assert model.bits_per_character(blank, 4) == pytest.approx(3, rel=1e-5)
    theta = model.initial_theta(jax.random.key(1))
    losses = []
    for place in (0, 20):
        memory = CharLSTM(ids, 8, HIDDEN).init(None, theta)._replace(t=jnp.int32(place))
        for _ in range(20):
            memory, out = model.step(None, theta, memory)
            losses.append(float(out.loss))
    expected = np.mean(losses) / math.log(2)
    assert model.bits_per_character(theta, 2) == pytest.approx(expected, rel=1e-5)


def write_treebank(folder, train: bytes, valid: bytes) -> None:
    (folder / "ptb").mkdir()
    (folder / "ptb" / "ptb.train.txt").write_bytes(train)
    (folder / "ptb" / "ptb.valid.txt").write_bytes(valid)


def test_penn_treebank_from_local_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PES_RL_DATA", str(tmp_path))
    assert not has_penn_treebank()
    write_treebank(tmp_path, b" aaa bb\n Aa c\n", b" ba z \n")
    assert has_penn_treebank()
    text = penn_treebank(vocabulary=4)
    assert text.train.symbols == text.held_out.symbols == "\N{REPLACEMENT CHARACTER}a b"
    np.testing.assert_array_equal(text.train.ids, [1, 1, 1, 2, 3, 3, 2, 1, 1, 2, 0])
    np.testing.assert_array_equal(text.held_out.ids, [3, 1, 2, 0])
    assert text.digests["ptb.valid.txt"] == hashlib.sha256(b" ba z \n").hexdigest()
    assert len(text.digests) == 2


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (None, r"cannot read .*ptb.train.txt: .*; put ptb.train.txt \(nothing is downloaded\)"),
        (b"\xff\xfe\x00", r"ptb.train.txt is not UTF-8 text"),
        (b" \n", r"ptb.train.txt is empty"),
    ],
)
def test_a_bad_treebank_is_named(train, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PES_RL_DATA", str(tmp_path))
    if train is not None:
        write_treebank(tmp_path, train, b"ab")
    with pytest.raises(UserError, match=message):
        penn_treebank()


def test_the_manual_is_split_and_entropy_is_in_bits():
    text = python_manual_split(28)
    assert len(text.train.ids) > 8 * len(text.held_out.ids) > 100_000
    assert len(text.train.symbols) == 28 and not text.digests
    assert 3.5 < text.train.unigram_bits() < 4.75
    assert Corpus(np.array([0, 1, 1, 0], np.uint8), "ab").unigram_bits() == pytest.approx(1)
    assert Corpus(np.array([0, 2, 1, 3], np.uint8), "abcd").unigram_bits() == pytest.approx(2)


def test_one_hot_symbols_are_an_embedding_by_the_identity():
    text = jnp.array([0, 2, 1, 2, 0])
    bare, embedded = CharLSTM(text, 3, 3, embedded=False), CharLSTM(text, 3, 3)
    theta = jax.random.normal(jax.random.key(0), (bare.num_params,))
    longer = jnp.concatenate([jnp.eye(3).ravel(), theta])
    assert longer.size == embedded.num_params
    one, two = bare.init(None, theta), embedded.init(None, longer)
    for _ in range(4):
        one, left = bare.step(None, theta, one)
        two, right = embedded.step(None, longer, two)
        np.testing.assert_allclose(left.loss, right.loss, rtol=1e-5)
